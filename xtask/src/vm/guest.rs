//! One machine: its first file system, and QEMU.
//!
//! What surprises: threads are what makes emulation fail. With `thread=multi`, QEMU's own choice, it
//! loses races with a kernel that patches its own code, which is what attaching a probe is: `Oops:
//! int3`. And KVM is never used, even where it is: a test must not depend on the machine.

use super::cpio::{Cpio, Mode};
use super::kernels::Files;
use super::programs::Programs;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const INIT: &str = include_str!("init.sh");
const FOLDERS: [&str; 6] = ["/proc", "/sys", "/dev", "/tmp", "/etc", "/modules"];
const PASSWD: &[u8] = b"root:x:0:0:root:/:/bin/sh\n";

/// Enough for 36,000 connections, both ends: 72,000 sockets and files.
const MEMORY_MIB: &str = "2048";
/// With two, emulated in turn on one thread, a connection of the workload's was reset once on 6.12 and
/// once on 6.18, and segments came out of order (PAWSEstab) in every run, without portleak too; with
/// one, none of that. Supposed, not shown: lockless look-ups lose when a CPU stands still midway.
const CPUS: &str = "1";
/// Several times what the steps take on a machine that is busy with other things.
const LIFE_MAX: Duration = Duration::from_secs(1200);
/// The guest's clock: two nanoseconds for each instruction, and when all sleep it jumps to the next
/// alarm. So a test's patience does not depend on how busy this machine is, and sleeping is free.
const CLOCK: &str = "shift=1,sleep=off";
const PAUSE: Duration = Duration::from_millis(50);

/// What a guest said until its end.
pub(crate) struct Said {
    /// The kernel's messages.
    pub(crate) console: String,
    /// Its steps' output with its marks.
    pub(crate) output: String,
    /// Whether it was ended because it had lived too long.
    pub(crate) too_long: bool,
}

/// Boots a kernel, lets it do the steps (a script), and waits for its end. `folder` keeps what it said.
pub(crate) fn run(kernel: &Files, programs: &Programs, steps: &str, folder: &Path) -> Result<Said> {
    fs::create_dir_all(folder)?;
    let initramfs = folder.join("initramfs");
    fs::write(&initramfs, first_files(kernel, programs, steps)?)?;
    let [console, output] = ["console", "output"].map(|name| folder.join(name));
    let mut qemu = qemu(&kernel.vmlinuz, &initramfs, &console, &output);
    let mut guest = qemu.stdin(Stdio::null()).spawn().context("cannot start QEMU")?;
    let ended = wait(&mut guest);
    // It has ended, or must: and a second time does no harm.
    let _ = guest.kill();
    let _ = guest.wait();
    let _ = fs::remove_file(initramfs);
    Ok(Said { console: read(&console), output: read(&output), too_long: !ended? })
}

fn first_files(kernel: &Files, programs: &Programs, steps: &str) -> Result<Vec<u8>> {
    let mut files = Cpio::default();
    FOLDERS.iter().for_each(|folder| files.folder(Path::new(folder)));
    files.file(Path::new("/init"), Mode::Program, INIT.as_bytes());
    files.file(Path::new("/steps"), Mode::Plain, steps.as_bytes());
    files.file(Path::new("/etc/passwd"), Mode::Plain, PASSWD);
    for (path, data) in &programs.files {
        files.file(path, Mode::Program, data);
    }
    for (position, module) in kernel.modules.iter().enumerate() {
        let data = fs::read(module).with_context(|| module.display().to_string())?;
        // The guest loads them in the order of their names.
        files.file(Path::new(&format!("/modules/{position}")), Mode::Plain, &data);
    }
    Ok(files.finish())
}

fn qemu(kernel: &Path, initramfs: &Path, console: &Path, output: &Path) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "q35", "-accel", "tcg,thread=single", "-cpu", "max"]);
    qemu.args(["-smp", CPUS, "-m", MEMORY_MIB, "-icount", CLOCK]);
    qemu.args(["-nodefaults", "-no-reboot", "-display", "none"]);
    for line in [console, output] {
        qemu.arg("-serial").arg(format!("file:{}", line.display()));
    }
    qemu.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    // With -no-reboot a panic that reboots at once ends QEMU.
    qemu.args(["-append", "console=ttyS0 panic=-1 quiet"]);
    qemu
}

/// Waits for the guest's end. False if it did not come in time.
fn wait(guest: &mut Child) -> Result<bool> {
    let life_ends = Instant::now() + LIFE_MAX;
    while guest.try_wait()?.is_none() {
        if Instant::now() > life_ends {
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
    Ok(true)
}

/// What came over a serial line, whatever it was; nothing if QEMU did not even make the file.
fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\r', "")
}
