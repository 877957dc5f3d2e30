//! A real Chromium without a window: where it is, and what it did with one address.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;

use crate::site::Outside;

/// Set by `.ci/run` once Chromium is installed: then its absence is a failure.
const REQUIRED: &str = "TOKENWARD_CHROMIUM_REQUIRED";

/// A folder into which the tests put what they see, to be looked at.
const PICTURES: &str = "TOKENWARD_SCREENSHOTS";

/// How long one page may take, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(2);

/// Hosts that the browser asks on its own account.
const ITS_OWN: [&str; 3] = ["google.com", "googleapis.com", "gvt1.com"];

pub(crate) struct Chromium(PathBuf);

/// What came of opening an address.
#[derive(Debug)]
pub(crate) struct Visit {
    /// The document as it stood at the end.
    pub(crate) dom: String,
    /// What the browser's console says: refused by a policy, failed to load, logged by a script.
    pub(crate) console: Vec<String>,
    /// Hosts beyond loopback that were asked for.
    pub(crate) left_for: Vec<String>,
}

impl Chromium {
    /// None, with a loud line, where there is no Chromium.
    pub(crate) fn find(test: &str) -> Option<Self> {
        let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let places = || std::env::split_paths(&folders);
        let found = names
            .iter()
            .flat_map(|name| places().map(move |folder| folder.join(name)))
            .find(|path| path.is_file());
        if found.is_none() {
            assert!(
                std::env::var_os(REQUIRED).is_none(),
                "{REQUIRED} is set, and no chromium found"
            );
            // Past the capture of the test harness, which hides what a passing test prints.
            let line = format!("\nNOT RUN: {test}: there is no chromium on the path\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
        found.map(Self)
    }

    /// Opens `url` and waits until the page and what it started has come to rest.
    pub(crate) async fn open(&self, url: &str) -> Visit {
        let outside = Outside::start().await;
        let budget = OsStr::new("--virtual-time-budget=5000");
        let output = self.run(&outside, &[OsStr::new("--dump-dom"), budget], url).await;
        let log = String::from_utf8_lossy(&output.stderr);
        let own = |host: &str| ITS_OWN.iter().any(|own| host.ends_with(own));
        Visit {
            dom: String::from_utf8_lossy(&output.stdout).into_owned(),
            console: log
                .lines()
                .filter(|line| line.contains(":CONSOLE"))
                .map(str::to_owned)
                .collect(),
            left_for: outside.hosts().into_iter().filter(|host| !own(host)).collect(),
        }
    }

    /// Keeps a picture of what an address shows, where the environment names a folder for it.
    pub(crate) async fn picture(&self, name: &str, width: u32, dark: bool, url: &str) {
        let Some(folder) = std::env::var_os(PICTURES).map(PathBuf::from) else { return };
        let mut target = std::ffi::OsString::from("--screenshot=");
        target.push(folder.join(format!("{name}.png")));
        let size = format!("--window-size={width},560");
        let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
        let outside = Outside::start().await;
        let arguments =
            [&*target, OsStr::new(&size), OsStr::new(&scheme), OsStr::new("--hide-scrollbars")];
        self.run(&outside, &arguments, url).await;
    }

    async fn run(
        &self,
        outside: &Outside,
        arguments: &[&OsStr],
        url: &str,
    ) -> std::process::Output {
        let profile = TempDir::new().expect("a folder");
        let mut command = Command::new(&self.0);
        command
            .args(["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--disable-sync", "--disable-default-apps", "--disable-extensions"])
            .args(["--enable-logging=stderr", "--lang=en"])
            .arg(format!("--proxy-server={}", outside.address()))
            .arg(with_path("--user-data-dir=", profile.path()));
        if is_root() {
            command.arg("--no-sandbox");
        }
        command.args(arguments).arg(url).stdin(Stdio::null()).kill_on_drop(true);
        tokio::time::timeout(PATIENCE, command.output())
            .await
            .expect("chromium comes to an end")
            .expect("chromium starts")
    }
}

fn with_path(option: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(option);
    option.push(path);
    option
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
