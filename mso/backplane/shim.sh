# shim.sh ATTEMPT DIRECTORY VARIABLES COMMAND [ARGUMENT...]
# Runs one attempt at a model in DIRECTORY, and outlives MSO to keep its exit code.
#
# MSO starts it as the leader of a session with standard input = the lock of the directory ATTEMPT (held as long as this
# process lives) and standard output and error = the model's log. VARIABLES is the number of variables of the model's
# environment: they come as _mso_0='NAME=value', _mso_1=... so that none of them (IFS, LD_PRELOAD, PATH) can touch this
# shell. POSIX sh; the files are described in mso/backplane/attempts.py.

_mso_attempt=$1 _mso_directory=$2 _mso_variables=$3
shift 3

# Caught, not ignored: what is ignored stays ignored in the model, what is caught returns to its default there.
trap : HUP INT QUIT TERM

begun_is_the_twentieth() { shift 19; _mso_begun=$1; }

if [ -r /proc/self/stat ]; then
    read -r _mso_boot </proc/sys/kernel/random/boot_id
    read -r _mso_begun </proc/self/stat
    # Field 22. The name of the program, field 2, may hold blanks and brackets: count from behind its last bracket.
    begun_is_the_twentieth ${_mso_begun##*) }
else
    _mso_boot=$(sysctl -n kern.bootsessionuuid)
    _mso_begun=$(ps -o lstart= -p $$)
fi
printf '%s %s %s\n' $$ "$_mso_boot" "$_mso_begun" >"$_mso_attempt/started" || exit 1

exec 3>&1 >/dev/null 2>&1 # the log is the model's alone: no word of this shell about a child that was "Killed"

# In the foreground: in the background it would start with SIGINT and SIGQUIT ignored, and a caught signal would
# interrupt `wait`. Here this shell waits to the end, whatever it catches, and has the true status.
(
    if [ -e "$_mso_attempt/stopped" ]; then exit 143; fi # a SIGTERM that came before this subshell met the trap above
    cd "$_mso_directory" || exit
    unset PWD OLDPWD SHLVL
    _mso_index=0
    while [ "$_mso_index" -lt "$_mso_variables" ]; do
        eval "export \"\$_mso_$_mso_index\"; unset _mso_$_mso_index"
        _mso_index=$((_mso_index + 1))
    done
    exec "$@"
) </dev/null >&3 2>&3 3>&-
_mso_code=$?

trap '' HUP INT TERM # a stop that comes now would hit mv as well
_mso_by=
if [ -e "$_mso_attempt/stopped" ]; then _mso_by=' stopped'; fi
# Renamed, so that nobody reads half a file. On a full disk the exit status of this process is the last way to tell.
if ! { printf '%s%s\n' "$_mso_code" "$_mso_by" >"$_mso_attempt/exit.tmp" && mv -f "$_mso_attempt/exit.tmp" "$_mso_attempt/exit"; }; then
    exit "$_mso_code"
fi

kill -KILL 0 # the whole group, this process included: what the model left behind ends with it
