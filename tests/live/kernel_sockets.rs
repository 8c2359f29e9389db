//! Ports that the kernel takes for itself, each by another of its parts: charged to System, by
//! module.

use crate::harness::{PATIENCE, Process, Tracer, alone, lines_of, workload_path};
use aya::util::KernelVersion;
use portleak_tests::outcome::{self, Outcome};
use portleak_tests::trace::Trace;
use serde_json::Value;
use std::process::{Command, Stdio};

/// What a trigger ends with where the kernel has no such part.
const HAS_NONE: i32 = 77;

/// Before every trigger. What busybox's shell calls `ip` knows few kinds of devices.
const PROLOGUE: &str = "stat -L -c %i /proc/self/ns/net; ip() { \"$(which ip)\" \"$@\"; }; ip link set lo up";

/// A part of the kernel that takes ports.
struct Case {
    name: &'static str,
    /// What it may be called, by age of the kernel.
    modules: &'static [&'static str],
    protocol: &'static str,
    /// At least: a connection that is refused may be tried again.
    ports: u64,
    /// Makes it take them; `$1` is the workload, `$2` a folder. Time enough to load a module.
    trigger: &'static str,
    limit: Option<Limit>,
}

/// On kernels before this one portleak cannot tell.
struct Limit {
    before: KernelVersion,
    charged: Charged,
    why: &'static str,
}

/// Who is charged instead of the module.
#[derive(Clone, Copy)]
enum Charged {
    System,
    /// The trigger.
    Process,
    Nobody,
}

/// What `portleak doctor` says of bind() and UDP.
const BOUND: Option<Limit> = Some(Limit {
    before: KernelVersion::new(6, 18, 0),
    charged: Charged::System,
    why: "before Linux 6.18 cgroup hooks cannot see the stack that tells the module: System as a whole",
});

/// Tracing programs cannot ask for a cookie before 5.12. Users' sockets are given one at birth by a
/// hook that `inet_create` (net/ipv4/af_inet.c) does not run for the kernel's own.
const CONNECTED: Option<Limit> = Some(Limit {
    before: KernelVersion::new(5, 12, 0),
    charged: Charged::Nobody,
    why: "before Linux 5.12 a connection of the kernel's own has no cookie when it is made",
});

/// `nvme_tcp_alloc_queue` (drivers/nvme/host/tcp.c) calls `sock_create`, later `sock_create_kern`:
/// only that sets `sk_kern_sock`.
const NVME: Option<Limit> = Some(Limit {
    before: KernelVersion::new(6, 18, 0),
    charged: Charged::Process,
    why: "before Linux 6.18 nvme-tcp makes its sockets as if they were the process's that connects it",
});

/// Tunnels take the ports that they are given, wireguard one that is free, for IPv4 and for IPv6: five
/// devices, as of a program that makes them in a loop and forgets them.
const CASES: [Case; 8] = [
    Case {
        name: "kernel-vxlan",
        modules: &["vxlan"],
        protocol: "udp",
        ports: 5,
        trigger: "for i in 1 2 3 4 5; do \
            ip link add vx$i type vxlan id $i dstport $((40000 + i)) local 127.0.0.1 || exit 77; \
            ip link set vx$i up; done",
        limit: BOUND,
    },
    Case {
        name: "kernel-geneve",
        modules: &["geneve"],
        protocol: "udp",
        ports: 5,
        trigger: "for i in 1 2 3 4 5; do \
            ip link add gn$i type geneve id $i dstport $((40000 + i)) remote 127.0.0.1 || exit 77; \
            ip link set gn$i up; done",
        limit: BOUND,
    },
    Case {
        name: "kernel-wireguard",
        modules: &["wireguard"],
        protocol: "udp",
        ports: 10,
        trigger: "for i in 1 2 3 4 5; do \
            ip link add wg$i type wireguard || exit 77; ip link set wg$i up; done",
        limit: BOUND,
    },
    Case {
        name: "kernel-rds-tcp",
        modules: &["rds_tcp"],
        protocol: "tcp",
        ports: 1,
        trigger: "grep -qs '^rds_tcp ' /proc/modules || exit 77; \
            ip address add 10.9.9.1/32 dev lo && ip route add 10.9.9.2/32 dev lo && \
            \"$1\" rds 10.9.9.1:4000 10.9.9.2:4000 && sleep 1",
        limit: BOUND,
    },
    Case {
        name: "kernel-nfs",
        modules: &["sunrpc"],
        protocol: "tcp",
        ports: 1,
        trigger: "timeout 20 \"$1\" mount nfs 127.0.0.1:/ \"$2\" \
            addr=127.0.0.1,vers=3,proto=tcp,port=20490,mountproto=tcp,mountport=20490,noresvport,nolock,\
            soft,timeo=5,retrans=1; grep -qw nfs /proc/filesystems || exit 77",
        limit: CONNECTED,
    },
    Case {
        name: "kernel-cifs",
        modules: &["cifs"],
        protocol: "tcp",
        ports: 1,
        trigger: "timeout 20 \"$1\" mount cifs //127.0.0.1/x \"$2\" \
            ip=127.0.0.1,unc=//127.0.0.1/x,port=4455,user=x,pass=y,vers=3.0; grep -qw cifs /proc/filesystems || exit 77",
        limit: CONNECTED,
    },
    Case {
        name: "kernel-9p",
        modules: &["9pnet_fd", "9pnet"],
        protocol: "tcp",
        ports: 1,
        trigger: "timeout 20 \"$1\" mount 9p 127.0.0.1 \"$2\" trans=tcp,port=5640; grep -qw 9p /proc/filesystems || exit 77",
        limit: CONNECTED,
    },
    Case {
        name: "kernel-nvme-tcp",
        modules: &["nvme_tcp"],
        protocol: "tcp",
        ports: 1,
        trigger: "[ -e /dev/nvme-fabrics ] || exit 77; \
            echo transport=tcp,traddr=127.0.0.1,trsvcid=4420,nqn=nqn.x >/dev/nvme-fabrics",
        limit: NVME,
    },
];

/// The kernel skips a probe that is interrupted by itself, and portleak says so. What it tells is then
/// not the whole story, so the triggers are pulled again, so many times in all.
const PERFORMANCES: u32 = 3;

#[test]
#[ignore = "needs root: cargo xtask test"]
#[expect(clippy::print_stdout, reason = "what was lost is told")]
fn ports_of_the_kernel_are_charged_to_its_modules() {
    let _machine = alone();
    let ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
    assert!(ip.is_ok_and(|status| status.success()), "no `ip`: install iproute2");
    for performance in 1..=PERFORMANCES {
        let tracer = Tracer::start(&[]);
        let performed = CASES.iter().map(|case| (case, perform(case))).collect::<Vec<_>>();
        let trace = tracer.finish();
        if trace.lost() > 0 && performance < PERFORMANCES {
            println!("performance {performance}: {} lost", trace.lost());
            continue;
        }
        let outcomes = performed.into_iter().map(|(case, netns)| {
            let outcome = netns.map_or_else(|outcome| outcome, |netns| judge(case, netns, &trace));
            (case.name, outcome)
        });
        return outcome::tell(&outcomes.collect::<Vec<_>>());
    }
}

/// Pulls the trigger in a network and a mount namespace of its own; the former's number.
fn perform(case: &Case) -> Result<u64, Outcome> {
    let folder = tempfile::tempdir().expect("a directory to mount on");
    let script = format!("{PROLOGUE}; {}; exit 0", case.trigger);
    let mut unshare = Command::new("unshare");
    unshare
        .env("RUST_BACKTRACE", "0")
        .args(["-n", "-m", "sh", "-c", &script, "sh"])
        .arg(workload_path())
        .arg(folder.path());
    let mut process = Process::start(unshare.stdin(Stdio::null()).stdout(Stdio::piped()));
    let netns = lines_of(process.stdout(), 1).recv_timeout(PATIENCE).expect("a namespace's number");
    match process.end(case.name, PATIENCE).code() {
        Some(0) => Ok(netns.parse().expect("a number")),
        Some(HAS_NONE) => Err(Outcome::Impossible("not in this kernel, nor among its modules".to_owned())),
        code => Err(Outcome::Wrong(format!("its commands ended with {code:?}"))),
    }
}

fn judge(case: &Case, netns: u64, trace: &Trace) -> Outcome {
    let owners = trace.summary()["owners"].as_array().expect("owners");
    let acquired = |owner: &Value| owner[case.protocol]["acquired"].as_u64().unwrap_or(0);
    let there = || owners.iter().filter(|owner| owner["owner"]["netns"] == netns && acquired(owner) > 0);
    let takers: Vec<_> =
        there().filter(|owner| acquired(owner) >= case.ports).map(|owner| &owner["owner"]).collect();
    let is_module = |owner: &&Value| {
        let module = owner["module"].as_str();
        owner["kind"] == "system" && module.is_some_and(|module| case.modules.contains(&module))
    };
    if takers.iter().any(is_module) {
        return Outcome::Exact;
    }
    let running = KernelVersion::current().expect("the kernel's version");
    match &case.limit {
        Some(limit) if running < limit.before && is_charged(limit.charged, &takers) => {
            Outcome::Inexact(limit.why.to_owned())
        }
        _ => {
            let all: Vec<_> = there().map(|owner| (acquired(owner), owner["owner"].to_string())).collect();
            let lost = &trace.summary()["capture"]["lost"];
            Outcome::Wrong(format!("{} ports were to be one owner's: {all:?}, {lost} lost", case.ports))
        }
    }
}

fn is_charged(charged: Charged, takers: &[&Value]) -> bool {
    match charged {
        Charged::System => takers.iter().any(|it| it["kind"] == "system" && it["module"].is_null()),
        Charged::Process => takers.iter().any(|it| it["kind"] == "process" && it["comm"] == "sh"),
        Charged::Nobody => takers.is_empty(),
    }
}
