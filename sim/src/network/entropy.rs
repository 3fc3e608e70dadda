//! Where random bytes come from inside a simulation: from its seed, whoever asks.
//!
//! Each simulation runs on a fresh thread, whose generators live and die with it. Cryptography draws from one of them
//! (see `crypto`). Everything that asks the operating system instead, `rand::rng()` inside QUIC and the seeds of the
//! standard library's hash maps, is answered by [`getrandom`] below, which stands before the C library's. Threads that
//! belong to no simulation get the operating system's bytes.

use std::cell::RefCell;
use std::ffi::{c_uint, c_void};
use std::fs::File;
use std::io::Read;
use std::thread;

/// The generators of one simulation.
struct Entropy {
    /// Consumed draw by draw.
    secrets: fastrand::Rng,
    /// What the operating system would say. Every answer begins anew: what is asked for once per process must not change
    /// what others get after it.
    system: fastrand::Rng,
}

thread_local! {
    static ENTROPY: RefCell<Option<Entropy>> = const { RefCell::new(None) };
}

/// Runs a simulation on a thread of its own, on which all randomness comes from `seed`.
///
/// # Panics
/// When the simulation panics, with its words.
pub fn on_fresh_thread<T: Send>(seed: u64, simulation: impl FnOnce() -> T + Send) -> T {
    let work = || {
        ENTROPY.with_borrow_mut(|entropy| {
            let mut secrets = fastrand::Rng::with_seed(seed);
            let system = secrets.fork();
            *entropy = Some(Entropy { secrets, system });
        });
        simulation()
    };
    thread::scope(|scope| scope.spawn(work).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Fills `bytes` with this simulation's next secrets. False on a thread that belongs to none.
pub fn fill(bytes: &mut [u8]) -> bool {
    ENTROPY.with_borrow_mut(|entropy| match entropy {
        Some(entropy) => {
            entropy.secrets.fill(bytes);
            true
        }
        None => false,
    })
}

/// Fills `bytes` as the operating system would on this simulation's machine.
fn answer_for_system(bytes: &mut [u8]) -> bool {
    // Not while the thread ends, and not while it draws a secret: then it belongs to no simulation as far as this goes.
    ENTROPY
        .try_with(|entropy| match entropy.try_borrow().as_deref() {
            Ok(Some(entropy)) => {
                entropy.system.clone().fill(bytes);
                true
            }
            _ => false,
        })
        .unwrap_or(false)
}

/// What the C library's function of this name does, except on the threads of simulations.
///
/// # Safety
/// The C library's contract: `length` bytes from `buffer` on may be written, or `length` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    if length == 0 {
        return 0;
    }
    // SAFETY: the caller allows to write there; zeroes make it readable as well.
    let bytes = unsafe {
        buffer.write_bytes(0, length);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length)
    };
    if answer_for_system(bytes) {
        return isize::try_from(length).unwrap_or(isize::MAX);
    }
    match File::open("/dev/urandom").and_then(|mut file| file.read(bytes)) {
        Ok(count) => isize::try_from(count).unwrap_or(isize::MAX),
        // The system's reason stands in `errno`, where callers look for it.
        Err(_) => -1,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    fn secrets_and_hash(seed: u64) -> ([u8; 16], u64) {
        on_fresh_thread(seed, || {
            let mut secrets = [0; 16];
            assert!(fill(&mut secrets));
            (secrets, RandomState::new().hash_one(1))
        })
    }

    #[test]
    fn a_seed_decides_secrets_and_hash_seeds() {
        assert_eq!(secrets_and_hash(1), secrets_and_hash(1));
        let different = (0..10).map(secrets_and_hash).collect::<HashSet<_>>();
        assert_eq!(different.len(), 10);
    }

    #[test]
    fn other_threads_get_the_systems_bytes() {
        assert!(!fill(&mut [0; 4]));
        let mut draws = HashSet::new();
        for _ in 0..3 {
            let hash = thread::spawn(|| RandomState::new().hash_one(1)).join().unwrap();
            assert!(draws.insert(hash));
        }
    }
}
