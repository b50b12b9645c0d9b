# SPDX-License-Identifier: Apache-2.0
"""Does bad use get one clear line and its own exit status?"""
import os
import stat
import subprocess

from harness import common
from harness.system import only


def one_line(t, done, status, *words):
    t.equal(done.status, status, done.text()[-2000:])
    lines = done.err.decode("utf-8", "replace").splitlines()
    t.equal(len(lines), 1, done.err)
    t.check(lines[0].startswith("cloister: "), lines[0])
    for word in words:
        t.check(word in lines[0], f"'{word}' is not in:", lines[0])


def launcher(t, *arguments, env=None):
    argv = t.run_argv(*arguments[1:]) if arguments[0] == "run" else [common.cloister_path(t.arguments.kernel_build), *arguments]
    return common.command(argv, 60, None, env=env)


def test_missing_program(t):
    one_line(t, t.cell(["/nonexistent/program"]), 127, "/nonexistent/program")
    one_line(t, t.cell(["no-such-program-anywhere"]), 127, "no-such-program-anywhere")


def test_program_not_executable(t):
    one_line(t, t.cell(["/etc/passwd"]), 126, "/etc/passwd")
    one_line(t, t.cell(["/usr"]), 126, "/usr")


def test_wrong_architecture(t):
    path = os.path.join(t.scratch, "arm")
    header = bytearray(64)
    header[0:7] = b"\x7fELF\x02\x01\x01"
    header[16], header[18], header[20], header[52] = 2, 183, 1, 64
    with open(path, "wb") as f:
        f.write(header)
    os.chmod(path, 0o755)
    one_line(t, t.cell(["/work/arm"], "--mount", f"{t.scratch}:/work"), 126, "/work/arm", "architecture")


def test_no_program_format(t):
    path = os.path.join(t.scratch, "text")
    with open(path, "w") as f:
        f.write("this is no program\n")
    os.chmod(path, 0o755)
    done = t.cell(["/work/text"], "--mount", f"{t.scratch}:/work")
    one_line(t, done, 126, "/work/text")


def test_script_without_its_interpreter(t):
    path = os.path.join(t.scratch, "script")
    with open(path, "w") as f:
        f.write("#!/nonexistent/interpreter\n")
    os.chmod(path, 0o755)
    one_line(t, t.cell(["/work/script"], "--mount", f"{t.scratch}:/work"), 127, "/work/script")


def test_bad_options(t):
    one_line(t, launcher(t, "run", "--no-such-option", "--", "/bin/true"), 125, "--no-such-option")
    one_line(t, launcher(t, "run"), 125)
    done = launcher(t, "nonsense")
    t.equal(done.status, 125, done.err)
    t.check(b"nonsense" in done.err.splitlines()[0], done.err)
    one_line(t, launcher(t, "run", "--cpus", "many", "--", "/bin/true"), 125, "many")
    one_line(t, launcher(t, "run", "--memory", "lots", "--", "/bin/true"), 125, "lots")
    one_line(t, launcher(t, "run", "--mount", "nonsense", "--", "/bin/true"), 125, "nonsense")
    one_line(t, launcher(t, "run", "--port", "moon", "--", "/bin/true"), 125, "moon")


def test_resources_out_of_range(t):
    one_line(t, t.cell(["/bin/true"], "--memory", "16M"), 121, "16")
    one_line(t, t.cell(["/bin/true"], "--cpus", "0"), 121)
    one_line(t, t.cell(["/bin/true"], "--cpus", "100000"), 121)
    done = t.cell(["/bin/true"], "--memory", "100T")
    t.equal(done.status, 121, done.err)


def test_mounts_that_cannot_be(t):
    one_line(t, t.cell(["/bin/true"], "--mount", "/nonexistent/place:/x"), 122, "/nonexistent/place")
    one_line(t, t.cell(["/bin/true"], "--mount", "/etc/passwd:/x"), 122, "/etc/passwd")


def test_bad_manifests(t):
    cases = {
        "not toml": ("[[[", "manifest.toml"),
        "unknown key": ("no_such_key = 1\n[loader]\n", "no_such_key"),
        "wrong type": ("[sys]\nmemory = [1]\n", "memory"),
    }
    path = os.path.join(t.scratch, "manifest.toml")
    for name, (text, word) in cases.items():
        with open(path, "w") as f:
            f.write(text)
        done = launcher(t, "run", "-m", path, "--", "/bin/true")
        t.equal(done.status, 125, name, done.err)
        t.equal(len(done.err.splitlines()), 1, name, done.err)
    one_line(t, launcher(t, "run", "-m", "/nonexistent.toml"), 125, "/nonexistent.toml")


def hidden(t, path):
    """Runs the launcher where a host program is not there: in a mount namespace of its own."""
    script = f"mount --bind /dev/null {path} 2>/dev/null; mount -t tmpfs none {os.path.dirname(path)} || exit 99; exec \"$@\""
    if os.path.dirname(path) == "/usr/bin":
        script = (f"mount -t tmpfs none {t.scratch}; mkdir {t.scratch}/u {t.scratch}/w; mount -t overlay overlay -o "
                  f"lowerdir=/usr/bin,upperdir={t.scratch}/u,workdir={t.scratch}/w /usr/bin && rm {path} || exit 99; "
                  "exec \"$@\"")
    argv = ["unshare", "--mount", "/bin/sh", "-c", script, "sh", *t.run_argv("--", "/bin/true")]
    done = common.command(argv, 60, None)
    if done.status == 99 or (done.status == 1 and b"unshare" in done.err):
        t.skip("cannot hide host programs here")
    return done


@only("x86")
def test_missing_virtiofsd(t):
    if os.geteuid() != 0:
        t.skip("needs root")
    one_line(t, hidden(t, "/usr/lib/qemu/virtiofsd"), 123, "virtiofsd", "qemu-system-common")


@only("x86")
def test_missing_qemu(t):
    if os.geteuid() != 0:
        t.skip("needs root")
    one_line(t, hidden(t, "/usr/bin/qemu-system-x86_64"), 123, "qemu-system-x86")


@only("hosted")
def test_network_grants_decide_for_no_port(t):
    done = launcher(t, "run", "--port", "auto", "--verbose", "--connect", "tcp:10.0.0.1:80", "--", "/bin/true")
    t.equal(done.status, 0, done.text()[-2000:])
    t.check(b"machine started on port hosted" in done.err, done.text()[-2000:])


def test_network_grant_with_an_unknown_name(t):
    one_line(t, launcher(t, "run", "--connect", "tcp:no-such-host.invalid:80", "--", "/bin/true"), 122, "no-such-host.invalid")


def test_unreadable_mount_for_an_ordinary_user(t):
    if os.geteuid() != 0:
        t.skip("needs root to become another user")
    directory = os.path.join(t.scratch, "locked")
    os.mkdir(directory, stat.S_IRWXU)
    os.chmod(t.scratch, 0o755)
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            *t.run_argv("--mount", f"{directory}:/x", "--", "/bin/true")]
    if subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "test", "-x", argv[4]]).returncode:
        t.skip("the build tree is not readable for others")
    one_line(t, common.command(argv, 60, None), 122, directory)


def test_help_and_version(t):
    done = launcher(t, "--help")
    t.equal(done.status, 0)
    t.check(b"cloister run" in done.out, done.out)
    done = launcher(t, "run", "--help")
    t.equal(done.status, 0)
    for option in ("--mount", "--env", "--workdir", "--cpus", "--memory", "--user", "--tty", "--trace", "--verbose"):
        t.check(option.encode() in done.out, option)
    done = launcher(t, "version")
    t.equal(done.status, 0)
    t.check(done.out.startswith(b"cloister "), done.out)


def test_manual_page(t):
    t.need("man")
    page = os.path.join(common.TOP, "docs", "cloister.1")
    done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", page], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""})
    t.equal(done.returncode, 0, done.stderr)
    t.equal(done.stderr, b"")
    t.check(b"EXIT STATUS" in done.stdout, done.stdout[:500])
