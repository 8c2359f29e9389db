//! Work that may block, kept off a thread that must not: one thread, a bounded queue, a deadline.
//!
//! Surprising: nothing here ever waits for a job that hangs. A job that misses its deadline is
//! abandoned together with its thread, which nobody can end, and the next job gets a new thread.
//! So the number of abandoned threads is limited: beyond it, jobs are refused until one of them
//! returns.
//!
//! Time is an argument of [`Worker::poll`]; the deadline counts from the first poll that finds the
//! job running. Nothing in here depends on the system or on the capture: whoever has something slow
//! to ask can have a worker of its own.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many threads of one worker may be abandoned at the same time.
pub const ABANDONED_MAX: usize = 4;

/// The bounds of a worker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs that may wait.
    pub queue_max: usize,
    /// How long a job may run, in nanoseconds.
    pub deadline_ns: u64,
}

/// What became of a job.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<K, T> {
    /// It returned.
    Done(K, T),
    /// It missed its deadline, or panicked: nobody will learn its result.
    Missed(K),
}

/// There is no room for a job, or too many hang; it was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

type Job<T> = Box<dyn FnOnce() -> T + Send>;

/// Runs jobs one after the other on a thread of its own. `K` says what a job is about, `T` is what
/// it returns.
#[derive(Debug)]
pub struct Worker<K, T> {
    name: &'static str,
    limits: Limits,
    shared: Arc<Shared<K, T>>,
    /// The running job, and when it was first seen to run.
    running: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Shared<K, T> {
    state: Mutex<State<K, T>>,
    /// Something was queued, or the thread is to end.
    work: Condvar,
    /// The queue has become empty.
    idle: Condvar,
}

struct State<K, T> {
    queue: VecDeque<(K, Job<T>)>,
    done: VecDeque<Outcome<K, T>>,
    /// The job that the current thread runs, by its number.
    current: Option<(u64, K)>,
    begun: u64,
    /// Threads of earlier generations are abandoned, or are to end.
    generation: u64,
    has_thread: bool,
    abandoned: usize,
}

impl<K, T> std::fmt::Debug for State<K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { queue, abandoned, .. } = self;
        f.debug_struct("State").field("queued", &queue.len()).field("abandoned", abandoned).finish()
    }
}

impl<K: Send + 'static, T: Send + 'static> Worker<K, T> {
    /// A worker whose threads have a name. Starts none yet.
    #[must_use]
    pub fn new(name: &'static str, limits: Limits) -> Self {
        let state = State {
            queue: VecDeque::new(),
            done: VecDeque::new(),
            current: None,
            begun: 0,
            generation: 0,
            has_thread: false,
            abandoned: 0,
        };
        let shared = Shared { state: Mutex::new(state), work: Condvar::new(), idle: Condvar::new() };
        Self { name, limits, shared: Arc::new(shared), running: None }
    }

    /// Queues a job.
    ///
    /// # Errors
    /// When the queue is full, too many jobs hang, or no thread can be started.
    pub fn submit(&self, about: K, job: impl FnOnce() -> T + Send + 'static) -> Result<(), Refused> {
        let mut state = self.shared.lock();
        if state.queue.len() >= self.limits.queue_max || !self.has_thread(&mut state) {
            return Err(Refused);
        }
        state.queue.push_back((about, Box::new(job)));
        self.shared.work.notify_one();
        Ok(())
    }

    /// What has become of a job since the last time, if anything.
    pub fn poll(&mut self, now_ns: u64) -> Option<Outcome<K, T>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if let Some(done) = state.done.pop_front() {
            return Some(done);
        }
        let Some(number) = state.current.as_ref().map(|(number, _)| *number) else {
            self.running = None;
            return None;
        };
        match self.running {
            Some((running, since_ns)) if running == number => {
                if now_ns < since_ns.saturating_add(self.limits.deadline_ns) {
                    return None;
                }
                self.running = None;
                self.abandon(&mut state).map(Outcome::Missed)
            }
            _ => {
                self.running = Some((number, now_ns));
                None
            }
        }
    }

    /// Waits until every job has been done, at most for `patience`. False if some are left.
    pub fn wait(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.lock();
        while state.current.is_some() || !state.queue.is_empty() {
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return false;
            };
            let waited = self.shared.idle.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// What has become of all jobs, after waiting at most `patience` for them: what is not done by
    /// then is missed.
    pub fn finish(&mut self, patience: Duration) -> Vec<Outcome<K, T>> {
        self.wait(patience);
        self.running = None;
        let mut state = self.shared.lock();
        let mut outcomes: Vec<_> = std::mem::take(&mut state.done).into();
        if state.current.is_some() {
            outcomes.extend(state.leave_thread().map(Outcome::Missed));
        }
        let queued = std::mem::take(&mut state.queue).into_iter();
        outcomes.extend(queued.map(|(about, _)| Outcome::Missed(about)));
        outcomes
    }

    /// Whether a job waits or runs.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        let state = self.shared.lock();
        state.current.is_some() || !state.queue.is_empty()
    }

    /// Forgets every job, also the one that runs; says how many have no result.
    pub fn cancel(&mut self) -> usize {
        let mut state = self.shared.lock();
        let queued = std::mem::take(&mut state.queue).len();
        state.done.clear();
        self.running = None;
        let running = state.current.is_some();
        if running {
            state.leave_thread();
        }
        queued + usize::from(running)
    }

    /// Gives up the running job, and has another thread take on what is queued.
    fn abandon(&self, state: &mut State<K, T>) -> Option<K> {
        let about = state.leave_thread();
        if !state.queue.is_empty() && !self.has_thread(state) {
            let missed = std::mem::take(&mut state.queue).into_iter();
            state.done.extend(missed.map(|(about, _)| Outcome::Missed(about)));
        }
        about
    }

    /// Whether there is a thread that takes jobs; starts one if there is none.
    fn has_thread(&self, state: &mut State<K, T>) -> bool {
        if !state.has_thread && state.abandoned < ABANDONED_MAX {
            let (shared, generation) = (Arc::clone(&self.shared), state.generation);
            let thread = std::thread::Builder::new().name(self.name.to_owned());
            state.has_thread = thread.spawn(move || shared.run(generation)).is_ok();
        }
        state.has_thread
    }
}

impl<K, T> State<K, T> {
    /// The thread that runs the current job will end when that does.
    fn leave_thread(&mut self) -> Option<K> {
        self.generation += 1;
        self.has_thread = false;
        self.abandoned += 1;
        self.current.take().map(|(_, about)| about)
    }
}

impl<K, T> Shared<K, T> {
    /// Nothing panics with the lock held, so a poisoned state is a whole one.
    fn lock(&self) -> MutexGuard<'_, State<K, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, generation: u64) {
        let mut state = self.lock();
        while state.generation == generation {
            let Some((about, job)) = state.queue.pop_front() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.begun += 1;
            state.current = Some((state.begun, about));
            drop(state);
            let result = catch_unwind(AssertUnwindSafe(job));
            state = self.lock();
            if state.generation != generation {
                state.abandoned -= 1;
                return;
            }
            let done = state.current.take().map(|(_, about)| match result {
                Ok(result) => Outcome::Done(about, result),
                Err(_) => Outcome::Missed(about),
            });
            state.done.extend(done);
            if state.queue.is_empty() {
                self.idle.notify_all();
            }
        }
    }
}

/// An idle thread ends, a busy one when its job does. Nothing is waited for.
impl<K, T> Drop for Worker<K, T> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.queue.clear();
        if state.current.is_some() {
            state.leave_thread();
        }
        state.generation += 1;
        self.shared.work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    const LIMITS: Limits = Limits { queue_max: 8, deadline_ns: 100 };
    const LONG: Duration = Duration::from_secs(60);

    /// A job that hangs until its sender is dropped; returns when it hangs.
    fn hang(worker: &Worker<u32, u32>, about: u32) -> Sender<()> {
        let (release, hangs) = channel::<()>();
        let (running, runs) = channel();
        let job = move || {
            running.send(()).unwrap();
            hangs.recv().map_or(about, |()| about)
        };
        worker.submit(about, job).unwrap();
        runs.recv().unwrap();
        release
    }

    #[test]
    fn jobs_are_done_in_order() {
        let mut worker = Worker::new("test", LIMITS);
        for about in 0..3 {
            worker.submit(about, move || about * 10).unwrap();
        }
        assert!(worker.wait(LONG) && !worker.is_busy());
        let done: Vec<_> = std::iter::from_fn(|| worker.poll(0)).collect();
        assert_eq!(done, [Outcome::Done(0, 0), Outcome::Done(1, 10), Outcome::Done(2, 20)]);
    }

    #[test]
    fn a_job_that_hangs_is_abandoned_at_its_deadline_and_the_next_is_done() {
        let mut worker = Worker::new("test", LIMITS);
        let release = hang(&worker, 1);
        worker.submit(2, || 20).unwrap();
        assert_eq!(worker.poll(1_000), None, "the deadline counts from here");
        assert_eq!(worker.poll(1_099), None);
        assert!(!worker.wait(Duration::ZERO));
        assert_eq!(worker.poll(1_100), Some(Outcome::Missed(1)));
        assert!(worker.wait(LONG));
        assert_eq!(worker.poll(1_101), Some(Outcome::Done(2, 20)));
        drop(release);
    }

    #[test]
    fn what_an_abandoned_job_returns_late_is_nobodys() {
        let mut worker = Worker::new("test", LIMITS);
        let release = hang(&worker, 1);
        worker.poll(0);
        assert_eq!(worker.poll(100), Some(Outcome::Missed(1)));
        drop(release);
        while worker.shared.lock().abandoned > 0 {
            std::thread::yield_now();
        }
        assert_eq!(worker.poll(200), None);
    }

    #[test]
    fn jobs_are_refused_while_too_many_hang() {
        let mut worker = Worker::new("test", LIMITS);
        let mut hanging = Vec::new();
        for about in 0..u32::try_from(ABANDONED_MAX).unwrap() {
            hanging.push(hang(&worker, about));
            worker.poll(0);
            assert_eq!(worker.poll(100), Some(Outcome::Missed(about)));
        }
        assert_eq!(worker.submit(9, || 0), Err(Refused));
        drop(hanging);
        while worker.submit(9, || 90) == Err(Refused) {
            std::thread::yield_now();
        }
        assert!(worker.wait(LONG));
        assert_eq!(worker.poll(300), Some(Outcome::Done(9, 90)));
    }

    #[test]
    fn what_is_queued_behind_the_last_thread_is_missed_with_it() {
        let mut worker = Worker::new("test", LIMITS);
        let mut hanging = Vec::new();
        for about in 0..u32::try_from(ABANDONED_MAX).unwrap() {
            hanging.push(hang(&worker, about));
            if hanging.len() == ABANDONED_MAX {
                worker.submit(9, || 0).unwrap();
            }
            worker.poll(0);
            assert_eq!(worker.poll(100), Some(Outcome::Missed(about)));
        }
        assert_eq!(worker.poll(100), Some(Outcome::Missed(9)));
    }

    #[test]
    fn a_full_queue_refuses() {
        let worker = Worker::new("test", Limits { queue_max: 1, ..LIMITS });
        let _release = hang(&worker, 1);
        assert_eq!(worker.submit(2, || 0), Ok(()));
        assert_eq!(worker.submit(3, || 0), Err(Refused));
    }

    #[test]
    fn a_job_that_panics_is_missed_and_the_next_is_done() {
        let mut worker: Worker<u32, u32> = Worker::new("test", LIMITS);
        worker.submit(1, || std::panic::resume_unwind(Box::new("broken"))).unwrap();
        worker.submit(2, || 20).unwrap();
        assert!(worker.wait(LONG));
        assert_eq!(worker.poll(0), Some(Outcome::Missed(1)));
        assert_eq!(worker.poll(0), Some(Outcome::Done(2, 20)));
    }

    #[test]
    fn at_the_end_everything_has_an_outcome() {
        let mut worker = Worker::new("test", LIMITS);
        worker.submit(1, || 10).unwrap();
        assert_eq!(worker.finish(LONG), [Outcome::Done(1, 10)]);
        let _release = hang(&worker, 2);
        worker.submit(3, || 30).unwrap();
        assert_eq!(worker.finish(Duration::ZERO), [Outcome::Missed(2), Outcome::Missed(3)]);
        assert_eq!(worker.finish(LONG), []);
    }

    #[test]
    fn cancelled_jobs_have_no_outcome() {
        let mut worker = Worker::new("test", LIMITS);
        let _release = hang(&worker, 1);
        worker.submit(2, || 0).unwrap();
        assert_eq!(worker.cancel(), 2);
        assert!(!worker.is_busy());
        worker.submit(3, || 30).unwrap();
        assert!(worker.wait(LONG));
        assert_eq!(worker.poll(0), Some(Outcome::Done(3, 30)));
    }
}
