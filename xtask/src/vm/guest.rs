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
const FOLDERS: [&str; 5] = ["/proc", "/sys", "/dev", "/tmp", "/etc"];
const PASSWD: &[u8] = b"root:x:0:0:root:/:/bin/sh\n";

/// Enough for 36,000 connections, both ends: 72,000 sockets and files.
const MEMORY_MIB: &str = "2048";
/// With two, emulated in turn on one thread, a connection of the workload's was reset once on 6.12 and
/// once on 6.18, and segments came out of order (PAWSEstab) in every run, without portleak too; with
/// one, none of that. Supposed, not shown: lockless look-ups lose when a CPU stands still midway.
const CPUS: &str = "1";
/// The guest's clock: two nanoseconds for each instruction, and when all sleep it jumps to the next
/// alarm. So a test's patience does not depend on how busy this machine is, and sleeping is free.
const CLOCK: &str = "shift=1,sleep=off";
/// Should QEMU itself hang.
const LIFE_MAX: Duration = Duration::from_secs(3600);
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

/// Boots a kernel, lets it do the steps (a script), and waits for its end, which comes by force after
/// so much time of a CPU. `folder` keeps what it said.
pub(crate) fn run(
    kernel: &Files,
    programs: &Programs,
    steps: &str,
    cpu_max: Duration,
    folder: &Path,
) -> Result<Said> {
    fs::create_dir_all(folder)?;
    let initramfs = folder.join("initramfs");
    fs::write(&initramfs, first_files(kernel, programs, steps)?)?;
    let [console, output] = ["console", "output"].map(|name| folder.join(name));
    let mut qemu = qemu(&kernel.vmlinuz, &initramfs, &console, &output);
    let mut guest = qemu.stdin(Stdio::null()).spawn().context("cannot start QEMU")?;
    let ended = wait(&mut guest, cpu_max);
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
    let modules = Path::new("/lib/modules").join(&kernel.release);
    for file in fs::read_dir(&kernel.modules)? {
        let file = file?;
        files.file(&modules.join(file.file_name()), Mode::Plain, &fs::read(file.path())?);
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

/// Waits for the guest's end. False if it did not come in time. A guest that waits uses a CPU as well:
/// its clock jumps, so that one that hangs comes to its limit too, however busy the machine is.
fn wait(guest: &mut Child, cpu_max: Duration) -> Result<bool> {
    let life_ends = Instant::now() + LIFE_MAX;
    while guest.try_wait()?.is_none() {
        if Instant::now() > life_ends || cpu_used(guest.id()) > cpu_max {
            return Ok(false);
        }
        thread::sleep(PAUSE);
    }
    Ok(true)
}

/// How long a process has kept a CPU busy; nothing if it has ended.
fn cpu_used(pid: u32) -> Duration {
    cpu_time(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default()).unwrap_or_default()
}

/// utime and stime, in hundredths of a second: fields 14 and 15 of proc_pid_stat(5), the second of which
/// is a name in brackets.
fn cpu_time(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map_while(|ticks| ticks.parse::<u64>().ok());
    Some(Duration::from_millis(10 * (times.next()? + times.next()?)))
}

/// What came over a serial line, whatever it was; nothing if QEMU did not even make the file.
fn read(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_cpu_is_read_past_any_name() {
        let stat = "4711 (a ) b) S 1 4711 4711 0 -1 4194304 9 8 7 6 250 125 0 0 20 0 1 0 99 1 1";
        assert_eq!(cpu_time(stat), Some(Duration::from_millis(3750)));
        assert_eq!(cpu_time(""), None);
    }
}
