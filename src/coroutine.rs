//! Work on a stack of its own, which its thread can leave in the middle to do something else, and take up again.
//!
//! Scripts run like this: one that takes too long calls [`suspend`], so that its thread serves other clients meanwhile. A short
//! one pays for two switches of stacks, some nanoseconds, as each thread keeps a stack for the next one.
//!
//! Nothing is ever unwound from outside, since there may be frames of Lua's, which is C, on such a stack: work that nobody wants to take up any
//! more is told so by [`suspend`], and runs to its end at once.
//!
//! Must not know what the work is.

use std::cell::{Cell, RefCell};
use std::thread::ThreadId;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};

/// Bytes of a stack: as many as the thread's own has. Memory is taken only for what is used of it.
const STACK_BYTES: usize = 2 << 20;
/// So many stacks are kept for the next work; more are there only while work is suspended.
const KEPT_STACKS: usize = 2;

type Work<T> = Coroutine<Told, (), T>;

/// What work is told when it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    GoOn,
    /// Nobody waits for it.
    End,
}

thread_local! {
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
    /// How the work that runs on this thread leaves it.
    static CURRENT: Cell<Option<*const Yielder<Told, ()>>> = const { Cell::new(None) };
}

/// How far work has come.
#[derive(Debug)]
pub enum Progress<T> {
    /// It has ended.
    Done(T),
    /// It was left in the middle.
    Suspended(Suspended<T>),
}

/// What became of the wish to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspension {
    /// This is no such work: it goes on at once.
    NotPossible,
    /// The thread has done something else, and is back.
    Resumed,
    /// Nobody will take the work up again: it should end soon.
    Abandoned,
}

/// Work that was left in the middle. Dropping it has it run to its end.
pub struct Suspended<T> {
    /// None while it runs, and once it has ended.
    work: Option<Work<T>>,
    thread: ThreadId,
}

// SAFETY: what is on the stack of the work belongs to its thread. Only `resume` and `drop` reach it, and both check that they run there.
unsafe impl<T> Send for Suspended<T> {}

impl<T> std::fmt::Debug for Suspended<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Suspended").field("thread", &self.thread).finish_non_exhaustive()
    }
}

/// Does work until it has ended or calls [`suspend`].
///
/// # Safety
///
/// What `work` borrows stays where it is, and nobody else uses it, until the work has ended; if it is suspended, until the [`Suspended`] has told
/// that it has ended, or was dropped. That is not to be leaked without what is borrowed.
pub unsafe fn start<T: 'static>(work: impl FnOnce() -> T) -> Progress<T> {
    let kept = STACKS.with_borrow_mut(Vec::pop);
    let Some(stack) = kept.or_else(|| DefaultStack::new(STACK_BYTES).ok()) else {
        // There is no memory for a stack: without one it cannot be suspended, and that is all.
        return Progress::Done(work());
    };
    let body = |yielder: &Yielder<Told, ()>, _: Told| {
        CURRENT.set(Some(yielder));
        work()
    };
    // SAFETY: as the caller promises. The coroutine is always driven to its end: see `Suspended`.
    let work = unsafe { Work::with_stack_unchecked(stack, body) };
    go_on(work, Told::GoOn)
}

/// Goes on with work until it has ended or is suspended again.
fn go_on<T>(mut work: Work<T>, told: Told) -> Progress<T> {
    /// Whatever else runs on the thread does not leave it by the way of this work.
    struct Restore(Option<*const Yielder<Told, ()>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CURRENT.set(self.0);
        }
    }
    let restore = Restore(CURRENT.get());
    let result = work.resume(told);
    drop(restore);
    match result {
        CoroutineResult::Yield(()) => {
            Progress::Suspended(Suspended { work: Some(work), thread: std::thread::current().id() })
        }
        CoroutineResult::Return(value) => {
            let stack = work.into_stack();
            STACKS.with_borrow_mut(|stacks| {
                if stacks.len() < KEPT_STACKS {
                    stacks.push(stack);
                }
            });
            Progress::Done(value)
        }
    }
}

/// Called by work: lets its thread do something else, and comes back when the work is taken up again.
pub fn suspend() -> Suspension {
    let Some(yielder) = CURRENT.take() else { return Suspension::NotPossible };
    // SAFETY: the yielder lies on the stack of the work that runs, which is this one: it is set when work begins or goes on, and taken away when
    // the thread leaves it.
    let told = unsafe { &*yielder }.suspend(());
    CURRENT.set(Some(yielder));
    match told {
        Told::GoOn => Suspension::Resumed,
        Told::End => Suspension::Abandoned,
    }
}

impl<T> Suspended<T> {
    /// Takes the work up again, on its thread, until it has ended or is suspended once more.
    pub fn resume(mut self) -> Progress<T> {
        assert_eq!(self.thread, std::thread::current().id(), "work stays on its thread");
        let work = self.work.take().expect("there until it has ended");
        go_on(work, Told::GoOn)
    }
}

impl<T> Drop for Suspended<T> {
    fn drop(&mut self) {
        let Some(mut work) = self.work.take() else { return };
        if self.thread != std::thread::current().id() {
            // Neither can it go on here, nor may its stack be freed.
            std::mem::forget(work);
            panic!("work stays on its thread");
        }
        while let Progress::Suspended(mut rest) = go_on(work, Told::End) {
            work = rest.work.take().expect("just suspended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspended<T>(progress: Progress<T>) -> Suspended<T> {
        match progress {
            Progress::Suspended(suspended) => suspended,
            Progress::Done(_) => panic!("it should have been suspended"),
        }
    }

    fn done<T>(progress: Progress<T>) -> T {
        match progress {
            Progress::Done(value) => value,
            Progress::Suspended(_) => panic!("it should have ended"),
        }
    }

    #[test]
    fn work_is_left_and_taken_up_again() {
        assert_eq!(suspend(), Suspension::NotPossible);
        let steps = RefCell::new(Vec::new());
        let work = |name: &'static str| {
            let steps = &steps;
            move || {
                for step in 0..2 {
                    steps.borrow_mut().push((name, step));
                    assert_eq!(suspend(), Suspension::Resumed);
                }
                name
            }
        };
        // SAFETY: all of it ends before `steps` does.
        let (one, other) = unsafe { (suspended(start(work("one"))), suspended(start(work("other")))) };
        assert_eq!(suspend(), Suspension::NotPossible, "the thread is in none of them");
        let one = suspended(one.resume());
        let other = suspended(other.resume());
        assert_eq!((done(one.resume()), done(other.resume())), ("one", "other"));
        assert_eq!(*steps.borrow(), [("one", 0), ("other", 0), ("one", 1), ("other", 1)]);
        // SAFETY: it borrows nothing.
        assert_eq!(done(unsafe { start(suspend_never) }), 7);
        assert!((1..=KEPT_STACKS).contains(&STACKS.with_borrow(Vec::len)));
    }

    fn suspend_never() -> u32 {
        7
    }

    #[test]
    fn what_nobody_takes_up_again_runs_to_its_end() {
        let told = RefCell::new(Vec::new());
        let work = || {
            for _ in 0..3 {
                told.borrow_mut().push(suspend());
            }
        };
        // SAFETY: it has ended when it was dropped.
        drop(suspended(suspended(unsafe { start(work) }).resume()));
        assert_eq!(*told.borrow(), [Suspension::Resumed, Suspension::Abandoned, Suspension::Abandoned]);
    }

    #[test]
    fn a_panic_reaches_whoever_goes_on_with_the_work() {
        let work = || {
            suspend();
            panic!("as it is meant");
        };
        // SAFETY: it borrows nothing.
        let rest = suspended::<()>(unsafe { start(work) });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(rest.resume())));
        assert_eq!(outcome.expect_err("it panicked").downcast_ref::<&str>(), Some(&"as it is meant"));
        assert_eq!(suspend(), Suspension::NotPossible);
    }
}
