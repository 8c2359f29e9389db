//! portleak: a real-time leak tracer for ephemeral ports. This page is the architecture.
//!
//! It watches every ephemeral port of a machine being taken and given back, knows who took it, and
//! says which owner leaks: with how many, since when, to where, and how long until the pool is
//! empty.
//!
//! ```text
//!  LINUX KERNEL    BTF tracepoints + cgroup socket hooks        tracer-ebpf/src/*.rs
//!    │             (+ function probes, where permitted)
//!    │             ledger: every hold, totals of every owner    (maps; right even after a loss)
//!    │             ring buffer of fixed records; full → counted as lost
//!    ▼
//!  source::linux   attach, snapshot, decode ── Event ──┐        event.rs: the portable vocabulary
//!                                                      ▼
//!                  pipeline: the one loop (source | tick | Ctrl-C | child) ◀──▶ recording
//!                                                      ▼
//!                  engine: apply(event), advance(now) → findings, summary
//!                                                      ▼
//!                  sink: text · json
//! ```
//!
//! The split that matters is capture against meaning: everything from [`event`] on is the same on
//! every machine and is tested without a kernel.
//!
//! # Code map
//!
//! - [`event`]: what a source can say.
//! - [`engine`]: what it means. Hold table, owners, pools, lifetimes; the leak detector is a room
//!   of its own (`engine::detector`) that can be replaced.
//! - [`source`]: where events come from. In `source::linux`, `bpf` loads the probes (`probes`, and
//!   `function_probes` where the kernel permits them), sets the kernel's layout (`layout`, `btf`),
//!   and reads their maps (`ledger`) and records (`wire`); `kernel` and `procfs` read what the
//!   kernel shows without probes; `track` has one tracker per concern that records alone do not
//!   decide (`failed_binds`, `pending_ports`, `reconcile` …). `live` joins them; `snapshot` enters
//!   what was held before. `one_shot` is who holds what now, without probes; `advice` is about the
//!   pool.
//!   `source::windows` decodes events (`fact`, `layout`) and makes holds of them (`model`), whether
//!   a file has them (`etl`) or a session tells them (`live`), and asks Windows for what it lists
//!   (`machine`, `listing`); all of it but the calls themselves is portable. `selftest` has
//!   Windows answer what nobody could look at.
//! - [`recording`]: events in a file, and back; `source::file` opens one, whatever it is, and
//!   `pipeline::replay` judges it.
//! - [`symbols`]: the frames of a call site in people's words, from the files that they lie in.
//! - [`sink`]: findings and summary for people and for programs.
//! - [`pipeline`]: the loop. [`os`]: signals, and the command that `portleak run` runs. [`cli`],
//!   [`command`], [`exit`]: the outside.
//! - [`explain`]: the codes that people meet, in plain words.
//! - `tracer-ebpf`: the probes (bin) and the wire format that both sides share (lib).
//!
//! # Invariants
//!
//! - A *hold* is one socket's possession of one port in the kernel's port tables. It is not the
//!   life of a descriptor: a reset connection frees its port while the descriptor stays open, and
//!   TIME_WAIT keeps it long after `close()`.
//! - Identity is the socket cookie; an owner is a pid with its start time. Neither is ever reused.
//! - A hold belongs to a process that can use its socket. That changes without any event, so it is
//!   looked up: every half minute, soon after an owner's end, and at the end of the trace.
//! - The engine is pure: time comes in with events, and the result does not depend on how they
//!   are batched. It cannot fail.
//! - Nothing is lost silently: the probes count what the ring buffer had no room for, the stream
//!   carries it, totals stay right, and the hold table is mended from the ledger.
//! - `event` knows nobody; `engine` knows `event`; `symbols` names what `event` says;
//!   `sink` reads all three; `source` says `event`; `recording` keeps what is needed to judge
//!   again.
//!   `tests/architecture.rs` fails when that is broken.

pub mod cli;
pub mod command;
pub mod engine;
pub mod event;
pub mod exit;
pub mod explain;
pub mod os;
pub mod pipeline;
pub mod recording;
pub mod sink;
pub mod source;
pub mod symbols;
