//! Slow work of one actor: tasks that end with it, each of which reports exactly one outcome.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tracing::{Instrument as _, Span};

/// The tasks that an actor has under way. It lives in the actor's state: when the actor dies, they
/// are aborted.
///
/// Outcomes wait here rather than in the mailbox, since an actor that is drained takes no more
/// messages but still has to finish: it calls [`Errands::next`] in `post_stop`.
pub(crate) struct Errands<O> {
    tasks: JoinSet<()>,
    nudge: Arc<dyn Fn() + Send + Sync>,
    report: UnboundedSender<O>,
    reports: UnboundedReceiver<O>,
    under_way: usize,
}

impl<O: Send + 'static> Errands<O> {
    /// `nudge` is called each time an outcome is there: it sends the actor a message on which it
    /// calls [`Errands::returned`].
    pub(crate) fn new(nudge: impl Fn() + Send + Sync + 'static) -> Self {
        let (report, reports) = unbounded_channel();
        Self { tasks: JoinSet::new(), nudge: Arc::new(nudge), report, reports, under_way: 0 }
    }

    /// Starts `work`, in the current span. Should it panic, `if_it_dies` is its outcome.
    pub(crate) fn send(
        &mut self,
        work: impl Future<Output = O> + Send + 'static,
        if_it_dies: impl FnOnce() -> O + Send + 'static,
    ) {
        self.send_in(Span::current(), work, if_it_dies);
    }

    /// As [`Errands::send`], in `span`; beneath nothing where that is none.
    pub(crate) fn send_in(
        &mut self,
        span: Span,
        work: impl Future<Output = O> + Send + 'static,
        if_it_dies: impl FnOnce() -> O + Send + 'static,
    ) {
        while self.tasks.try_join_next().is_some() {}
        let (report, nudge) = (self.report.clone(), Arc::clone(&self.nudge));
        self.under_way += 1;
        // The nudge is nobody's: what the actor does next may be for somebody else.
        let work = work.instrument(span);
        let errand = async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            // Fails only when the actor is gone, and nobody asks any more.
            let _ = report.send(outcome.unwrap_or_else(|_| if_it_dies()));
            nudge();
        };
        self.tasks.spawn(errand);
    }

    /// The next outcome that is there.
    pub(crate) fn returned(&mut self) -> Option<O> {
        let outcome = self.reports.try_recv().ok()?;
        self.under_way -= 1;
        Some(outcome)
    }

    /// Waits for the next outcome; none when nothing is under way.
    pub(crate) async fn next(&mut self) -> Option<O> {
        if self.under_way == 0 {
            return None;
        }
        let outcome = self.reports.recv().await?;
        self.under_way -= 1;
        Some(outcome)
    }
}

impl<O> std::fmt::Debug for Errands<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Errands").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn every_errand_reports_once_even_when_it_dies() {
        let nudges = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&nudges);
        let mut errands = Errands::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        errands.send(async { "done" }, || "died");
        errands.send(async { panic!("on purpose") }, || "died");
        let mut outcomes = vec![errands.next().await, errands.next().await];
        outcomes.sort_unstable();
        assert_eq!(outcomes, [Some("died"), Some("done")]);
        assert_eq!(errands.next().await, None, "nothing is under way");
        errands.tasks.join_all().await;
        assert_eq!(nudges.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn errands_end_with_their_actor() {
        let mut errands = Errands::new(|| {});
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        errands.send(
            async move {
                std::future::pending::<()>().await;
                drop(held);
            },
            || (),
        );
        drop(errands);
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
