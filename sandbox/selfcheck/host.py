"""The host: its files are not there, nothing of it can be changed, and the kernel's doors are shut."""

from __future__ import annotations

import os
import platform
import tempfile

from sandbox.base import Sandbox
from sandbox.selfcheck.check import attempt, expect, expect_equal, needs

_STATUS = """
import sys
for line in open('/proc/self/status'):
    if line.startswith(sys.argv[1]): print(line.split()[1])
"""


@needs("read_scope")
async def check_secrets(sandbox: Sandbox) -> None:
    """no keys, tokens or sockets of the host are there"""
    names = (
        "/etc/shadow /etc/ssh /etc/ssl/private /etc/sudoers /var/run/docker.sock /run/docker.sock /run/user"
    )
    homes = ".ssh .aws .config/gcloud .kube .docker .gnupg .netrc .git-credentials"
    program = f"for n in {names}; do ls -d $n; done; for n in {homes}; do ls -d /root/$n /home/*/$n; done"
    expect_equal((await sandbox.run(f"({program}) 2>/dev/null; true")).output, b"")


@needs("read_scope")
async def check_canary(sandbox: Sandbox) -> None:
    """a file in the host's /tmp cannot be read"""
    with tempfile.NamedTemporaryFile("w", prefix="pawl-check-") as canary:
        canary.write("tweet")
        canary.flush()
        os.fchmod(canary.fileno(), 0o644)
        done = await sandbox.run(["cat", canary.name])
    expect(b"tweet" not in done.output, f"{canary.name} was read")


@needs("read_scope")
async def check_around_workspace(sandbox: Sandbox) -> None:
    """beside the workspace there is nothing"""
    beside = (await sandbox.run("ls -A ..")).output.decode("utf-8", "replace").split()
    expect_equal(beside, [os.path.basename(sandbox.root)])  # noqa: PTH119  (inside, it is no path of ours)


@needs("read_scope")
async def check_control_groups(sandbox: Sandbox) -> None:
    """no control group of the host's services and users is seen"""
    places = " ".join(f"/sys/fs/cgroup/{each}" for each in ("*.slice", "*.scope", "*/*.slice", "*/*.scope"))
    expect_equal((await sandbox.run(f"ls -d {places} 2>/dev/null; true")).output, b"")


@needs("read_scope")
async def check_kernel_tables(sandbox: Sandbox) -> None:
    """the kernel's keys, memory, devices and timers cannot be read"""
    names = "acpi/* asound/* kcore keys sched_debug scsi/* timer_list timer_stats"
    program = f"cd /proc && for n in {names}; do head -c 1 $n; done 2>/dev/null; true"
    expect_equal((await sandbox.run(program)).output, b"")


@needs("read_scope")
async def check_read_only(sandbox: Sandbox) -> None:
    """nothing but the workspace and the sandbox's own /tmp and /dev can be written"""
    program = (
        "import os\n"
        "own = [] if os.getuid() else ['/dev/x']\n"  # a rootless daemon's root owns the /dev made for it
        "paths = ['/x', '/etc/x', '/usr/x', '/bin/x', '/var/x', '/sys/x', '/dev/x', '/etc/passwd']\n"
        "for path in (path for path in paths if path not in own):\n"
        "    try: os.open(path, os.O_WRONLY | os.O_CREAT); print(path)\n"
        "    except OSError: pass\n"
        "for path in ('/', '/usr', '/etc'):\n"
        "    if not os.statvfs(path).f_flag & os.ST_RDONLY: print(path)"
    )
    expect_equal(await attempt(sandbox, program), [])


@needs("read_scope")
async def check_kernel_settings(sandbox: Sandbox) -> None:
    """no setting of the kernel can be changed"""
    program = (
        "import os\n"
        "for path in ('/proc/sys/kernel/core_pattern', '/proc/sys/vm/drop_caches', '/proc/sysrq-trigger',\n"
        "             '/proc/sys/kernel/modprobe', '/sys/kernel/uevent_helper'):\n"
        "    try: os.open(path, os.O_WRONLY); print(path)\n"
        "    except OSError: pass"
    )
    expect_equal(await attempt(sandbox, program), [])


@needs("read_scope")
async def check_kernel_memory(sandbox: Sandbox) -> None:
    """the memory of the kernel and the host's devices are not there"""
    program = (
        "import os\n"
        "for path in ('/proc/kcore', '/dev/mem', '/dev/kmsg', '/dev/sda', '/dev/vda', '/dev/kvm'):\n"
        "    try: print(path, len(os.read(os.open(path, os.O_RDONLY), 8192)))\n"
        "    except OSError: pass"
    )
    seen = [line for line in await attempt(sandbox, program) if not line.endswith(" 0")]
    expect_equal(seen, [])


@needs("read_scope")
async def check_made_up_etc(sandbox: Sandbox) -> None:
    """the users and the host's name are made up"""
    done = await sandbox.run("cat /etc/passwd | wc -l; hostname 2>/dev/null || cat /proc/sys/kernel/hostname")
    expect_equal(done.exit_code, 0)
    lines, name = done.output.decode().split()
    expect(int(lines) <= 40 and name == "sandbox", f"{lines} users, host {name}")


@needs("processes")
async def check_user(sandbox: Sandbox) -> None:
    """the user is not the host's root and has no capability"""
    program = (
        "import os\n"
        "first, outside, _ = open('/proc/self/uid_map').readline().split()\n"
        "mapped = first == '0' != outside\n"  # the root of a rootless daemon is a user outside
        "print('user' if mapped or os.getuid() and os.getgid() else 'root')\n"
        "for line in open('/proc/self/status'):\n"
        "    name, _, value = line.partition(':')\n"
        "    if name in ('CapInh', 'CapPrm', 'CapEff', 'CapAmb') and int(value, 16): print(line)"
    )
    expect_equal(await attempt(sandbox, program), ["user"])


@needs("processes")
async def check_no_new_privileges(sandbox: Sandbox) -> None:
    """a setuid program gains nothing"""
    program = (
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('NoNewPrivs')])"
    )
    expect_equal(await attempt(sandbox, program), ["['1']"])


@needs("kernel")
async def check_filter_is_on(sandbox: Sandbox) -> None:
    """a system call filter is in force"""
    expect_equal(await attempt(sandbox, _STATUS, "Seccomp:"), ["2"])


@needs("kernel")
async def check_namespaces(sandbox: Sandbox) -> None:
    """no namespace can be made"""
    program = (
        "import ctypes\nlibc = ctypes.CDLL(None)\n"
        "for flag in (0x10000000, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x20000000, 0x40000000):\n"
        "    if libc.unshare(flag) == 0: print(hex(flag))"
    )
    expect_equal(await attempt(sandbox, program), [])


_DOORS = {
    "x86_64": "mount=165 umount=166 bpf=321 io_uring=425 keyctl=250 userfaultfd=323 perf=298"
    " vm_readv=310 vm_writev=311 by_handle=304 module=175 setns=308 kexec=246 pidfd_getfd=438 ptrace=101"
    " reboot=169 swapon=167 syslog=103 open_tree=428 fsopen=430",
    "aarch64": "mount=40 umount=39 bpf=280 io_uring=425 keyctl=219 userfaultfd=282 perf=241"
    " vm_readv=270 vm_writev=271 by_handle=265 module=105 setns=268 kexec=104 pidfd_getfd=438 ptrace=117"
    " reboot=142 swapon=224 syslog=116 open_tree=428 fsopen=430",
}


@needs("kernel")
async def check_doors(sandbox: Sandbox) -> None:
    """mount, bpf, io_uring, keyctl, ptrace, perf and their kind are refused"""
    program = (
        "import ctypes, sys\nlibc = ctypes.CDLL(None, use_errno=True)\nfor word in sys.argv[1].split():\n"
        "    name, number = word.split('=')\n"
        "    done = libc.syscall(int(number), 0, 0, 0, 0, 0)\n"
        "    if done != -1 or ctypes.get_errno() not in (1, 38): print(name)"
    )
    expect_equal(await attempt(sandbox, program, _DOORS.get(platform.machine(), "")), [])


@needs("kernel")
async def check_devices(sandbox: Sandbox) -> None:
    """no device node can be made, and the root cannot be changed"""
    for program in ("os.mknod('h-node', 0o600 | stat.S_IFCHR, os.makedev(1, 8))", "os.chroot('/tmp')"):
        seen = await attempt(sandbox, f"import os, stat; {program}; print('done')")
        expect(seen[0].startswith("PermissionError"), f"{program}: {seen[0]}")


@needs("kernel")
async def check_foreign_abi(sandbox: Sandbox) -> None:
    """the x32 calls are refused, which a filter by number would miss"""
    if platform.machine() == "x86_64":
        program = "import ctypes; print(ctypes.CDLL(None).syscall(0x40000000 + 39))"
        done = await sandbox.run(["python3", "-I", "-S", "-c", program])
        expect(done.signal or done.output == b"-1\n", f"getpid answered {done.output!r}")


@needs("kernel")
async def check_terminal_typing(sandbox: Sandbox) -> None:
    """nobody types into a terminal for the person (TIOCSTI)"""
    program = (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\nmaster, slave = os.openpty()\n"
        "for number in (0x5412, 0x5412 | 1 << 32):\n"
        "    print(libc.ioctl(slave, ctypes.c_ulong(number), b'x'), ctypes.get_errno())"
    )
    expect_equal(await attempt(sandbox, program), ["-1 1", "-1 1"])
