# SPDX-License-Identifier: Apache-2.0
"""What the debug kernel finds out: each kind of bad access, provoked by /proc/cloister/panic, must be reported as what it is;
and bugs it found."""
import signal
import time

SUITE = "debug"
PORTS = ("hosted",)


def report(t, kind):
    """The end of a cell whose kernel does a bad access of a kind."""
    done = t.cell(["/bin/sh", "-c", f"echo {kind} > /proc/cloister/panic; echo not reached"], status=124)
    t.check(b"not reached" not in done.out, done.out)
    return done.err.decode("utf-8", "replace")


def provoke(t, kind, *wanted):
    text = report(t, kind)
    for part in ("kernel panic: address sanitizer: ", "sys_write+0x", "trace ring:", *wanted):
        t.check(part in text, part, text)
    return text


def test_asan_heap_overflow(t):
    text = provoke(t, "heap", "heap overflow: write of 1 bytes", "24 bytes into an object of kalloc-32, 24 bytes",
                   "allocated by:", "panic_write+0x", "shadow of")
    t.check("freed by:" not in text, text)


def test_asan_use_after_free(t):
    provoke(t, "free", "use after free: write of 1 bytes", "23 bytes into a freed object of kalloc-32", "allocated by:", "freed by:")


def test_asan_free_twice(t):
    provoke(t, "twice", "use after free: write of 1 bytes", "0 bytes into a freed object of kalloc-32", "freed by:", "slab_free+0x")


def test_asan_large_object_overflow(t):
    provoke(t, "large", "heap overflow: read of 1 bytes")


def test_asan_free_page(t):
    provoke(t, "page", "use of a free page: read of 1 bytes")


def test_asan_global_overflow(t):
    provoke(t, "global", "global overflow: write of 1 bytes", "24 bytes into variable of 24 bytes")


def test_asan_stack_overflow(t):
    provoke(t, "stack", "stack overflow: write of 1 bytes", "bytes into the frame of ", " variable")


def test_asan_use_after_scope(t):
    provoke(t, "scope", "use after scope: write of 1 bytes", "bytes into the frame of ", " inner")


def test_asan_copy_to_user_reads_too_much(t):
    provoke(t, "copy", "heap overflow: read of 25 bytes", "24 bytes into an object of kalloc-32", "copy+0x")


def test_asan_string_function(t):
    provoke(t, "string", "heap overflow: read of 1 bytes", "strlen+0x")


def test_asan_null_pointer(t):
    provoke(t, "null", "access to a program's memory: write of 1 bytes", "address 8")


def test_asan_wild_pointer(t):
    provoke(t, "fault", "wild access: write of 4 bytes", "address ffffdead00000000")


# Messages that nobody takes keep the leak report busy for a while.
LEAVES_MESSAGES = """
$SIG{USR1} = 'IGNORE';
for (1 .. 80) {
	my $queue = msgget(0, 0600 | 01000) // die "msgget: $!";
	msgsnd($queue, pack('l! a*', 1, 'x' x 8000), 0) or die "msgsnd: $!" for 1 .. 2;
}
syswrite(STDOUT, "ends\\n");
"""


def test_signal_of_the_launcher_after_the_first_process(t):
    process = t.start(["/usr/bin/perl", "-e", LEAVES_MESSAGES])
    t.wait_for_line(process, b"ends")
    while process.poll() is None:
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.02)
    done = t.finish(process)
    t.equal(done.status, 0, done.text()[-3000:])
    t.check(b"leaked: pages" in done.err, "not what this test needs:", done.text())


def test_trace_reads_no_more_than_names(t):
    t.cell(["/bin/sh", "-c", "/bin/true; cat /nonexistent; exit 0"], "--trace", status=0)
