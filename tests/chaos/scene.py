"""Made-up records for the tests of the judge: what a run would leave behind, written down word by word."""

from dataclasses import dataclass, field

from mso.protocol.messages import lifecycle_pb2
from tests.chaos.evidence import Evidence, Happened, Life, Played, Pod, Word
from tests.chaos.faults import Kind
from tests.chaos.judge import judge
from tests.chaos.plan import Fate, Manner, ModelPlan, Request, RunPlan
from tests.chaos.verdict import Verdict, Wrong

SO = "chaos-one"


@dataclass
class Scene:
    """Time goes on by a second with each thing that happens."""

    now: float = 100.0
    runs: list[Played] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    faults: list[Happened] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)
    before: list[Played] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)

    def tick(self, seconds: float = 1.0) -> float:
        self.now += seconds
        return self.now

    def asks(
        self,
        *models: ModelPlan,
        simulation: str = "sim",
        manner: Manner = Manner.EAGER,
        version: int = 1,
        stop_all: bool = False,
        same: Played | None = None,
    ) -> Played:
        """The orchestrator asks for a run; with `same` in the bytes of that one."""
        label = f"run-{len(self.runs)}"
        plan = RunPlan(label, simulation, manner, (models,), Request(version, stop_all=stop_all))
        payload = same.payloads[0] if same else label.encode()
        run = Played(plan, simulation, self.tick(), [payload], all_said=True)
        self.runs.append(run)
        self.word(f"/lifecycle/{SO}/mso/{simulation}/DeployModels", payload)
        return run

    def lives_on(
        self, run: Played, model: str, said: int | None = 0, *, term: bool = False, lasts: float = 1.0
    ) -> Life:
        """A model starts, and ends as it says."""
        number = 1 + sum(life.run is run and life.model == model for life in self.lives)
        life = Life(run.simulation, model, run, number, "1@host", self.tick())
        life.said, life.ended = said, self.tick(lasts)
        life.termed = life.ended if term else None
        self.lives.append(life)
        return life

    def announces(self, run: Played, *models: str) -> None:
        for model in models:
            self.word(f"/lifecycle/model/mso/{run.simulation}/{model}/ReadyForProcessing")

    def stops(self, run: Played) -> None:
        run.stopped = self.tick()
        self.word(f"/lifecycle/{SO}/mso/{run.simulation}/SimulationDone")

    def tells(self, run: Played, name: str, *, again: bool = False) -> None:
        self.word(f"/lifecycle/mso/{SO}/{run.simulation}/{name}", again=again)
        if name == "AllModelsHaveTerminated":
            run.ended = self.now

    def tells_end(
        self, run: Played, model: str, code: int = 0, reason: str = "", *, attempt: int = 0, again: bool = False
    ) -> None:
        status = lifecycle_pb2.FAILED if code else lifecycle_pb2.SUCCESSFULL
        end = lifecycle_pb2.ModelHasTerminated(status=status, exitCode=code, reason=reason, attempt=attempt)
        topic = f"/lifecycle/mso/{SO}/{run.simulation}/{model}/ModelHasTerminated"
        self.word(topic, end.SerializeToString(), again=again)

    def word(self, topic: str, payload: bytes = b"", *, again: bool = False) -> None:
        self.words.append(Word(self.tick(), topic, payload, redelivered=again, again=again))

    def suffers(self, kind: Kind = Kind.MSO_KILL, began: float | None = None) -> None:
        began = self.tick() if began is None else began
        self.faults.append(Happened(kind, began, self.tick()))

    def judged(self) -> Verdict:
        return judge(
            Evidence(
                runs=self.runs,
                words=self.words,
                lives=self.lives,
                faults=self.faults,
                before=self.before,
                pods=self.pods,
                left=self.left,
                touched=self.touched,
            )
        )

    def wrongs(self) -> set[Wrong]:
        return {finding.wrong for finding in self.judged().findings}


def patient(*models: str, simulation: str = "sim", code: int = 0, scene: Scene | None = None) -> tuple[Scene, Played]:
    """A run that goes as it should."""
    scene = scene or Scene()
    plans = [ModelPlan(model, Fate((code,))) for model in models]
    run = scene.asks(*plans, simulation=simulation, manner=Manner.PATIENT)
    scene.announces(run, *models)
    scene.tells(run, "ModelsReady")
    for model in models:
        scene.lives_on(run, model, code)
        scene.tells_end(run, model, code)
    scene.tells(run, "AllModelsHaveTerminated")
    return scene, run


def single(code: int = 0, said: int | None = 0, *, term: bool = False) -> tuple[Scene, Played]:
    """One model that ended as it said, and was told with this code."""
    scene = Scene()
    run = scene.asks(ModelPlan("m", Fate((said or 0,))))
    scene.lives_on(run, "m", said, term=term)
    scene.tells_end(run, "m", code)
    scene.tells(run, "AllModelsHaveTerminated")
    return scene, run
