# SPDX-License-Identifier: Apache-2.0
"""io_uring as programs use it: fio with its engine of that name, in all the ways it knows."""

JOB = ("D=$(mktemp -d); cd $D; fio --name=job --ioengine=io_uring --size=4m --bs=4k --iodepth=16 --rw=randrw --verify=crc32c --verify_fatal=1 --verify_state_save=0 "
       "--directory=$D --output=$D/log --end_fsync=1 %s || { cat $D/log; exit 1; }; rm -r $D; echo verified")


def fio(t, options):
    t.need("fio")
    t.script(JOB % options)


def test_fio_verifies(t):
    fio(t, "")


def test_fio_vectors(t):
    fio(t, "--nonvectored=0")


def test_fio_registered(t):
    fio(t, "--fixedbufs --registerfiles")


def test_fio_polled_queue(t):
    fio(t, "--sqthread_poll --registerfiles")


def test_fio_workers(t):
    fio(t, "--force_async=1 --fsync=16")


def test_fio_processes(t):
    fio(t, "--numjobs=3 --size=1m")


def test_fio_threads(t):
    fio(t, "--numjobs=3 --size=1m --thread")
