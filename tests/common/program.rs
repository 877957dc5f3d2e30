//! The examples as programs: built as the sources say now, and run without what this machine
//! configures.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long a program may run, on a busy machine. One that is stuck fails its test.
const PATIENCE: Duration = Duration::from_mins(5);

/// A run of the example `name`, which tells everything it prints.
pub(crate) fn command(name: &str) -> Command {
    let mut command = Command::new(program(name));
    command.env_remove("RUST_LOG").env_remove("CREDENTIAL_ENCRYPTION_KEY");
    // What this machine configures is not for tests.
    let vendors =
        ["ANTHROPIC_", "OPENAI_", "GEMINI_", "GOOGLE_", "ORANGE_", "MEMORY_BANK_", "OAUTH_"];
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if vendors.iter().any(|beginning| name.starts_with(beginning)) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What `command` comes to.
pub(crate) fn run(command: &mut Command) -> Output {
    wait(command.spawn().expect("it runs"))
}

/// What `child` comes to, with all that it prints.
pub(crate) fn wait(child: Child) -> Output {
    let id = child.id().to_string();
    let (ended, end) = channel();
    // It is waited for until it has ended, so its id is nobody else's.
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    let Ok(output) = end.recv_timeout(PATIENCE) else {
        let mut kill = if cfg!(windows) {
            let mut kill = Command::new("taskkill");
            kill.args(["/F", "/PID", &id]);
            kill
        } else {
            let mut kill = Command::new("kill");
            kill.args(["-KILL", &id]);
            kill
        };
        panic!("the program is stuck, and was killed: {:?}", kill.status());
    };
    output.expect("it ended")
}

/// `cargo test --test NAME` alone does not build the examples, and one of before must not pass for
/// that of now. Building takes a moment where nothing has changed.
fn program(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // Held for the whole of it, so that each is built once.
    let mut built = BUILT.lock().expect("no panic while building");
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let test = std::env::current_exe().expect("a path");
    let profile = test.parent().and_then(Path::parent).expect("target/profile/deps");
    build(name, profile);
    let path = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    built.insert(name.to_owned(), path.clone());
    path
}

/// Builds an example into `profile`, such as target/debug.
fn build(example: &str, profile: &Path) {
    let name = profile.file_name().and_then(OsStr::to_str).expect("the name of a profile");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--example", example])
        .args(["--profile", if name == "debug" { "dev" } else { name }])
        .arg("--target-dir")
        .arg(profile.parent().expect("a target folder"))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if cfg!(feature = "redb") {
        command.args(["--features", "redb"]);
    }
    // What Cargo tells a test of its package, build scripts would take for a change.
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
        if told.iter().any(|beginning| name.to_string_lossy().starts_with(beginning)) {
            command.env_remove(name);
        }
    }
    assert!(command.status().expect("cargo runs").success(), "the example can not be built");
}
