//! Being told to end from outside. The program stops in good order then, so that no vault and no key
//! that go with it are left behind.

/// Resolves when the process is told to end: it is terminated, or its terminal is closed.
#[cfg(unix)]
pub(crate) async fn told_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let ended = (signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut hangup)) = ended else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// Resolves when the process is told to end: its console is closed, or the machine goes down.
#[cfg(windows)]
pub(crate) async fn told_to_end() {
    use tokio::signal::windows::{ctrl_close, ctrl_shutdown};
    let (Ok(mut close), Ok(mut shutdown)) = (ctrl_close(), ctrl_shutdown()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = close.recv() => {}
        _ = shutdown.recv() => {}
    }
}

/// Elsewhere nobody tells.
#[cfg(not(any(unix, windows)))]
pub(crate) async fn told_to_end() {
    std::future::pending().await
}
