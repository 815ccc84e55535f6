# The service as an image (docs/images.md). From the root of the repository, or with ci/build_docker.sh:
#   docker build --tag mso .
#
# What is installed is pinned by hash. A base image is pinned by its digest, which differs from registry to registry:
#   docker build --build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:... --tag mso .
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build

RUN python3 -m venv --without-pip /opt/mso
COPY requirements.txt .
# The lock is complete: with --no-deps no version of pip tries to resolve what is resolved.
# Of the client of Kubernetes the service uses credentials and connections. The classes of every object and call of the
# API, which it loads when they are asked for and nobody does, are half of all that is installed.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/mso install --no-deps --require-hashes --requirement requirements.txt \
    && cd /opt/mso/lib/python3*/site-packages/kubernetes \
    && find client/api client/models aio/client/api aio/client/models -type f ! -name '__init__.*' -delete

COPY dev-requirements.txt .
# hatchling and what it needs. When that becomes more, pip says so here, and tests/test_locks.py before.
RUN --mount=type=cache,target=/root/.cache/pip \
    sed -n '/^\(hatchling\|packaging\|pathspec\|pluggy\|tomlkit\|trove-classifiers\)==/,/[^\\]$/p' dev-requirements.txt >build-requirements.txt \
    && python3 -m pip install --require-hashes --requirement build-requirements.txt

COPY pyproject.toml README.md LICENSE ./
COPY mso mso
COPY simulation_components simulation_components
RUN python3 -m pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && python3 -m pip --python /opt/mso install --no-deps dist/*.whl

FROM ${PYTHON_IMAGE}
# Nothing is installed here any more. The state directory belongs to group 0 as well: a platform that gives a container
# any user, as OpenShift does, gives it that group.
RUN python3 -m pip uninstall --yes --quiet --quiet --root-user-action ignore pip setuptools wheel \
    && install --directory --owner 65532 --group 0 --mode 0770 /var/lib/mso
COPY --from=build /opt/mso /opt/mso

ENV PATH=/opt/mso/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/var/lib/mso \
    MSO_STATE_DIR=/var/lib/mso
WORKDIR /var/lib/mso
VOLUME /var/lib/mso
EXPOSE 8080
USER 65532:65532

# Exec form: the service is process 1, and hears SIGTERM.
STOPSIGNAL SIGTERM
ENTRYPOINT ["mso"]
CMD ["run"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["python3", "-m", "mso.healthcheck"]

ARG PYTHON_IMAGE
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Model Services Orchestrator" \
      org.opencontainers.image.description="Deploys the models of a simulation, follows their health and reports to the simulation orchestrator how they end." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"
