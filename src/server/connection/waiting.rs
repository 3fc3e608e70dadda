//! What a connection waits for beside its client: other nodes (WAIT), a save, a key that a blocking command needs, the end of a pause, the
//! end of a script.
//!
//! All of it is rare, and ends when the client or the process leaves.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Connection, FLUSH_SIZE};
use crate::commands::Session;
use crate::keyspace::Verdict;

/// While a script takes too long, whoever needs the data to end looks again after this long.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What comes in between while something is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    /// Messages for the client.
    Mail,
    /// The client has gone, or the process ends.
    End,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Waits until the data can be got at, if the end of the session needs it: not while a script takes too long, lest nobody
    /// on this thread could end it.
    pub(super) async fn wait_for_data(&mut self) {
        while self.place.front().state.keyspace.gates().is_overdue() && self.session().is_noted_at_keys() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until `replicas` other nodes have applied this node's effect `seq`, or for `timeout`, or until the client or
    /// the process leaves. How many have it.
    pub(super) async fn wait(&mut self, replicas: usize, timeout: Option<Duration>, seq: u64) -> usize {
        let mut reports = self.place.front().state.cluster.clone();
        let mut expired = pin!(async move {
            match timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => pending().await,
            }
        });
        loop {
            let count = reports.as_mut().map_or(0, |reports| reports.borrow_and_update().acknowledged(seq));
            if count >= replicas {
                return count;
            }
            let changed = async {
                match &mut reports {
                    Some(reports) => reports.changed().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                interruption = poll_fn(|context| self.poll_interrupted(context)) => match interruption {
                    Interruption::Mail if self.bring_mail().await.is_ok() => {}
                    Interruption::Mail | Interruption::End => return count,
                },
                changed = changed => {
                    if changed.is_err() {
                        // The cluster's runtime has ended: nobody will acknowledge anything any more.
                        return count;
                    }
                }
                () = &mut expired => return count,
            }
        }
    }

    /// Waits until a save has ended that began when `before` had. Returns its outcome; none if the client or the process
    /// leaves.
    pub(super) async fn wait_for_save(&mut self, before: u64) -> Option<Result<(), Arc<str>>> {
        let mut ends = self.place.front().state.persistence.ended();
        loop {
            let interruption = tokio::select! {
                biased;
                interruption = poll_fn(|context| self.poll_interrupted(context)) => interruption,
                // The node's persistence lives as long as the node.
                Ok(saved) = ends.wait_for(|saved| saved.ended > before) => {
                    return Some(saved.error.clone().map_or(Ok(()), Err));
                }
            };
            if interruption == Interruption::End || self.bring_mail().await.is_err() {
                return None;
            }
        }
    }

    pub(super) fn reply_to_save(&mut self, outcome: Result<(), String>) {
        if !self.session().wants_reply() {
            return;
        }
        match outcome {
            Ok(()) => self.reply.ok(),
            Err(error) => self.reply.error(error.as_bytes()),
        }
    }

    /// Waits until a blocking command may find something, or has waited long enough: then it is answered with nothing.
    /// False: the client or the process leaves.
    pub(super) async fn wait_for_keys(&mut self, request: usize) -> bool {
        let deadline = self.blocked.flatten();
        let mut expired = pin!(async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => pending().await,
            }
        });
        let verdict = tokio::select! {
            biased;
            left = poll_fn(|context| self.poll_woken(context)) => {
                if left {
                    return false;
                }
                self.session.as_ref().and_then(Session::waiter).and_then(|waiter| waiter.verdict())
            }
            () = &mut expired => Some(Verdict::TimedOut),
        };
        self.wait_for_data().await;
        self.now = self.place.front().clock.wall();
        let Some(verdict) = verdict else { return true };
        if self.session().wants_reply() {
            match verdict {
                Verdict::TimedOut => self.reply.null_array(),
                Verdict::Unblocked => self.reply.error(b"UNBLOCKED client unblocked via CLIENT UNBLOCK"),
            }
        }
        self.consumed += request;
        self.blocked = None;
        let session = self.session.as_mut().expect("there until the connection is dropped");
        session.end_waiting(&self.place.front().state, self.now);
        true
    }

    /// Waits until clients are not paused any more, or the pause is another one. False: the client or the process leaves.
    pub(super) async fn wait_for_end_of_pause(&mut self) -> bool {
        let state = Arc::clone(&self.place.front().state);
        // First the changes, then the look: so none is missed in between.
        let mut changes = state.supervision.pausing.changes();
        let now = self.place.front().clock.wall();
        let Some((_, until)) = state.supervision.pausing.current(now) else { return true };
        let rest = Duration::from_millis(until.saturating_sub(now));
        tokio::select! {
            biased;
            // Messages are sent before the request is looked at again.
            interruption = poll_fn(|context| self.poll_interrupted(context)) => interruption == Interruption::Mail,
            _ = changes.changed() => true,
            () = tokio::time::sleep(rest) => true,
        }
    }

    /// Ready when a key may have something (false), or the client has gone or the process ends (true).
    fn poll_woken(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if self.poll_end(context).is_ready() {
            return Poll::Ready(true);
        }
        if self.handle.take_woken() { Poll::Ready(false) } else { Poll::Pending }
    }

    /// Sends the messages that have come.
    async fn bring_mail(&mut self) -> io::Result<()> {
        while let Some(session) = self.session.as_ref().filter(|session| session.has_mail()) {
            session.deliver(&mut self.reply, FLUSH_SIZE);
            self.flush().await?;
        }
        Ok(())
    }

    /// Ready when the client has gone or the process ends, or when messages have come.
    fn poll_interrupted(&mut self, context: &mut Context<'_>) -> Poll<Interruption> {
        if self.poll_end(context).is_ready() {
            return Poll::Ready(Interruption::End);
        }
        let has_mail = self.session.as_ref().is_some_and(Session::has_mail);
        if has_mail { Poll::Ready(Interruption::Mail) } else { Poll::Pending }
    }

    /// Ready when the client has gone or the process ends.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.handle.wake_me(context, &mut self.waker);
        if self.handle.stopping() || self.is_cut_off() || self.is_ended() {
            return Poll::Ready(());
        }
        let failed = self.poll_absorb(context).is_err();
        if failed || self.ended { Poll::Ready(()) } else { Poll::Pending }
    }
}
