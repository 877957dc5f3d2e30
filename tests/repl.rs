//! The REPL by script: each file in `tests/repl` is what somebody types, with what they expect to
//! see. A script that ends with status 1 has failed.

#[path = "common/program.rs"]
mod program;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;
use tokenward::testing::SimulatedProvider;

/// A file that tells everything about a provider that is not built in. Behind it is a simulated one,
/// which is built in under another name.
const ACME: &str = r#"
    [vault]
    path = "vault"
    key = { file = "vault.key", create_if_missing = true }

    [providers.acme]
    methods = ["authorization-code", "device-code", "api-key"]
    base_url = "ACME/"
    api_key.value = { env = "ACME_KEY" }
    api_key.probe = "/v1beta/models"
    headers.api_key = [["x-goog-api-key", "{secret}"]]

    [providers.acme.oauth]
    authorization_endpoint = "ACME/o/oauth2/v2/auth"
    token_endpoint = "ACME/token"
    revocation_endpoint = "ACME/revoke"
    client_id = "acme-client"
    client_secret = { env = "ACME_SECRET" }
    scopes = ["models"]
    parameters.access_type = "offline"
    parameters.prompt = "consent"
    revocation.fields = ["token"]
    redirect.path = "/oauth2callback"
    device.endpoint = "ACME/device/code"

    [[providers.acme.errors.credential_refused]]
    status = 400
    path = ["error", "details", "reason"]
    value = "API_KEY_INVALID"
"#;

#[test]
fn two_users_work_with_three_providers_each_and_everything_is_there_after_a_restart() {
    let folder = folder();
    let vault = folder.path().join("made").join("vault");
    assert_success(&run("two_users.repl", &["--vault", text(&vault)]));
    assert_success(&run("again.repl", &["--vault", text(&vault)]));
}

#[test]
fn the_vault_tells_of_its_keys_a_breaker_is_set_and_a_user_is_erased() {
    assert_success(&run("vault.repl", &[]));
}

#[test]
fn tokens_come_through_faults_and_outages() {
    assert_success(&run("faults.repl", &[]));
}

#[test]
fn tokens_are_renewed_before_they_expire() {
    assert_success(&run("renewal.repl", &["--token-lifetime", "2s"]));
}

#[test]
fn anthropic_by_every_method_it_offers() {
    assert_success(&run("anthropic.repl", &[]));
}

#[test]
fn openai_by_every_method_it_offers() {
    assert_success(&run("openai.repl", &[]));
}

#[test]
fn why_something_is_as_it_is_can_be_asked() {
    assert_success(&run("diagnose.repl", &[]));
}

#[test]
fn google_by_every_method_it_offers() {
    assert_success(&run("google.repl", &[]));
}

#[test]
fn orange_by_client_credentials() {
    assert_success(&run("orange.repl", &[]));
}

#[test]
fn github_copilot_by_device_code() {
    assert_success(&run("github_copilot.repl", &[]));
}

#[test]
fn several_accounts_at_one_provider() {
    assert_success(&run("accounts.repl", &[]));
}

#[test]
fn an_api_key_stands_in_for_a_sign_in_that_needs_its_user() {
    assert_success(&run("fallback.repl", &[]));
}

#[test]
fn the_health_of_a_provider_that_fails_and_comes_back() {
    assert_success(&run("health.repl", &[]));
}

#[test]
fn the_audit_trail_tells_who_did_what() {
    assert_success(&run("audit.repl", &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_nobody_has_heard_of_from_a_file() {
    let server =
        SimulatedProvider::google().client("acme-client").client_secret("acme-client-secret");
    let server = server.start().await.expect("a server");
    let folder = folder();
    let file = folder.path().join("tokenward.toml");
    let address = server.url("/").to_string();
    std::fs::write(&file, ACME.replace("ACME/", &address)).expect("a file");
    let output = with(
        command(&["--config", text(&file)])
            .env("ACME_SECRET", "acme-client-secret")
            .env("ACME_KEY", server.issue_api_key().expose()),
        "configured.repl",
    );
    assert_success(&output);
    assert!(folder.path().join("vault").exists(), "the vault is where the file says");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_providers_as_the_environment_configures_them() {
    let orange = SimulatedProvider::orange()
        .client("orange-client")
        .client_secret("orange-secret-canary")
        .start()
        .await
        .expect("a server");
    let output = with(
        command(&["--real"])
            .env("ORANGE_CLIENT_ID", "orange-client")
            .env("ORANGE_CLIENT_SECRET", "orange-secret-canary")
            .env("ORANGE_TOKEN_ENDPOINT", orange.token_endpoint().as_str())
            .env("ORANGE_OAUTH_SCOPE", "sms")
            .env("OPENAI_API_KEY", "sk-canary-0000000000000000000000000000000000000000")
            .env("ANTHROPIC_OAUTH_CLIENT_ID", "anthropic-client")
            .env("OAUTH_CACHE_ENABLED", "true")
            .env("OAUTH_REFRESH_THRESHOLD_MINUTES", "7"),
        "real.repl",
    );
    assert_success(&output);
    assert_eq!(orange.token_requests(), 2, "for the health check, and for the sign-in");
}

#[test]
fn everything_wrong_with_a_file_is_told_before_anything_starts() {
    let folder = folder();
    let (file, vault) = (folder.path().join("tokenward.toml"), folder.path().join("vault"));
    let settings = "[vault]\npath = \"vault\"\n[providers.openai]\nmethods = []\ncolor = 1\n\
                    [providers.mine]\nbase_url = \"http://example.com\"\n";
    std::fs::write(&file, settings).expect("a file");
    let output =
        program::run(command(&["--config", text(&file)]).env("OAUTH_CACHE_ENABLED", "perhaps"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for told in [
        "vault.key",
        "providers.openai.methods",
        "providers.openai.color",
        "providers.mine.methods",
        "OAUTH_CACHE_ENABLED",
        "tokenward.toml:5)",
    ] {
        assert!(error.contains(told), "{told}: {error}");
    }
    assert!(!vault.exists(), "nothing was started");

    let output = run_text("", &["--config", text(&folder.path().join("nowhere.toml"))]);
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("nowhere.toml") && error.contains("create it"), "{error}");
}

/// `…` in the README stands for anything, and one duration for another.
#[test]
fn the_session_in_the_readme_is_what_the_screen_shows() {
    let readme = include_str!("../README.md");
    let (_, session) = readme.split_once("```text\nada> ").expect("a session");
    let (session, _) = session.split_once("\n```").expect("its end");
    let session = format!("ada> {session}");
    let typed = |line: &str| {
        let (prompt, command) = line.split_once("> ")?;
        (prompt == "ada" || prompt.starts_with("ada ")).then(|| format!("> {command}"))
    };
    let shown: Vec<_> =
        session.lines().map(|line| typed(line).unwrap_or_else(|| line.to_owned())).collect();
    let commands = shown.iter().filter_map(|line| line.strip_prefix("> "));
    let output = run_text(&commands.collect::<Vec<_>>().join("\n"), &[]);
    assert_success(&output);
    let printed = String::from_utf8_lossy(&output.stdout);
    let printed: Vec<_> = printed.lines().collect();
    for (wanted, line) in shown.iter().zip(&printed) {
        assert!(is_shown(wanted, line), "the README has {wanted:?}, the screen {line:?}");
    }
    assert_eq!(shown.len(), printed.len(), "{printed:#?}");
}

fn is_shown<'a>(wanted: &'a str, line: &'a str) -> bool {
    if let Some((beginning, end)) = wanted.split_once('…') {
        return line.starts_with(beginning) && line.ends_with(end);
    }
    let is_duration = |word: &str| humantime::parse_duration(word.trim_end_matches(',')).is_ok();
    let same = |(one, other)| one == other || is_duration(one) && is_duration(other);
    // A duration may be shorter than another, which moves what stands after it.
    let words = |line: &'a str| line.split_whitespace().collect::<Vec<&'a str>>();
    let (wanted, line) = (words(wanted), words(line));
    wanted.len() == line.len() && wanted.into_iter().zip(line).all(same)
}

#[test]
fn sign_ins_end_in_every_way_they_can() {
    assert_success(&run("sign_ins.repl", &[]));
}

#[test]
fn bad_input_is_told_what_to_do() {
    assert_success(&run("bad_input.repl", &[]));
}

#[test]
fn a_script_ends_at_the_first_command_that_fails_and_names_its_line() {
    let output = run_text("users\n\n# a comment\nuse openai\nusers\n", &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        error,
        "error: line 4: ada is not signed in to openai, sign in first, with: sign-in openai\n"
    );
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed, "> users\n*  ada\n> use openai\n", "nothing after it was done");
}

#[test]
fn an_expectation_that_is_not_met_fails_the_script() {
    for (script, complaint) in [
        ("users\nexpect bob\n", "line 2: the last answer does not contain: bob"),
        ("users\nexpect-not ada\n", "line 2: the last answer contains: ada"),
        ("expect-error users\n", "line 1: this was to fail: users"),
        ("wait nothing\n", "line 1: wait needs more"),
    ] {
        let output = run_text(script, &[]);
        assert_eq!(output.status.code(), Some(1), "{script}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn a_script_is_also_taken_from_a_file() {
    let script = scripts().join("bad_input.repl");
    assert_success(&run_text("this is not read\n", &["--script", text(&script)]));
}

#[test]
fn what_can_not_start_says_why() {
    let folder = folder();
    let nowhere = folder.path().join("nowhere.repl");
    let output = run_text("", &["--script", text(&nowhere)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere.repl can not be read"));

    let output = run_text("", &["--no-such-option"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_temporary_vault_is_gone_when_the_program_ends() {
    let folder = folder();
    for script in ["sign-in openai\nvault\n", "sign-in openai\nuse nothing\n"] {
        let mut child = command(&[])
            .env("TMPDIR", folder.path())
            .env("TMP", folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("the repl runs");
        let mut typed = child.stdin.take().expect("a pipe");
        typed.write_all(script.as_bytes()).expect("it reads");
        drop(typed);
        let output = program::wait(child);
        assert!(String::from_utf8_lossy(&output.stdout).contains("signed in to openai"));
        let left = std::fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 0, "nothing is left behind");
    }
}

#[cfg(unix)]
#[test]
fn a_program_that_is_told_to_end_leaves_nothing_behind() {
    let folder = folder();
    let mut child = command(&[])
        .env("TMPDIR", folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("the repl runs");
    let mut typed = child.stdin.take().expect("a pipe");
    let mut printed = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    typed.write_all(b"sign-in openai\nwait 1h\n").expect("it reads");
    assert!(printed.any(|line| line.expect("text") == "> wait 1h"));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("kill").success());
    assert_eq!(child.wait().expect("its end").code(), Some(1));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn a_killed_program_goes_on_where_it_was() {
    let folder = folder();
    let vault = folder.path().join("vault");
    let mut child = command(&["--vault", text(&vault), "--token-lifetime", "2s"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the repl runs");
    let mut typed = child.stdin.take().expect("a pipe");
    let mut printed = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let script = "sign-in openai authorization-code\napprove\nwait openai valid 2\nusers\n";
    typed.write_all(script.as_bytes()).expect("it reads");
    let reached = printed.any(|line| line.expect("text") == "> users");
    assert!(reached, "the token was renewed");
    child.kill().expect("killed");
    child.wait().expect("dead");

    let output = run_text("refresh openai\ncall\nexpect 200 OK\n", &["--vault", text(&vault)]);
    assert_success(&output);
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join("repl")
}

/// Runs a script of `tests/repl` through a pipe.
fn run(script: &str, arguments: &[&str]) -> Output {
    with(&mut command(arguments), script)
}

fn with(command: &mut Command, script: &str) -> Output {
    let script = File::open(scripts().join(script)).expect("a script");
    program::run(command.stdin(script))
}

fn run_text(script: &str, arguments: &[&str]) -> Output {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn().expect("the repl runs");
    let mut typed = child.stdin.take().expect("a pipe");
    // A program that ends before it has read everything is fine.
    let _ = typed.write_all(script.as_bytes());
    drop(typed);
    program::wait(child)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = program::command("repl");
    command.args(arguments);
    command
}

fn assert_success(output: &Output) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{printed}\n{error}");
    assert_eq!(error, "", "nothing is complained about");
    assert!(!printed.contains('\x1b'), "plain lines");
    for beginning in
        ["sk-proj-", "sk-ant-api03-", "sk-ant-o", "AIza", "Bearer ey", "rt_", "ya29", "gho_"]
    {
        let secret = printed.lines().find(|line| {
            !line.starts_with("open http") && !line.starts_with('>') && begins(line, beginning)
        });
        assert_eq!(secret, None, "no secret is shown");
    }
}

/// Whether a word of `line` begins like that. In the middle of one, such as the random name of a message,
/// it means nothing.
fn begins(line: &str, beginning: &str) -> bool {
    line.match_indices(beginning).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|char| !char.is_ascii_alphanumeric() && char != '-' && char != '_')
    })
}
