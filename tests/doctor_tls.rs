//! R7 over TLS and through a proxy: what the doctor says of certificates that are good, untrusted, of another
//! name, over or not yet valid, and of a proxy that opens a way and one that does not.
//!
//! The REPL is what looks, in a process of its own: which roots and which proxy there are stands in its
//! environment. Elsewhere than on Linux no variable says which roots the platform trusts.

#![cfg(target_os = "linux")]

#[path = "common/program.rs"]
#[allow(dead_code, reason = "each test uses its own part of this")]
mod program;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// A server that proves who it is by `certificate` and answers whatever it is asked, until the process ends.
fn server(certificate: &str) -> SocketAddr {
    let chain = CertificateDer::from_pem_file(fixture(certificate)).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).expect("a key");
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()
        .expect("ring offers them")
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .expect("the key is the certificate's");
    let config = Arc::new(config);
    listen(move |mut stream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).expect("a connection");
        let mut tls = rustls::Stream::new(&mut tls, &mut stream);
        // The doctor looks whether somebody takes connections, too, and hangs up at once.
        if head(&mut tls).is_some() {
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    })
}

/// A proxy that answers with `status`, and opens a way to `to` where that is 200. Gives what it was asked for.
fn proxy(status: &'static str, to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&asked);
    let address = listen(move |mut stream| {
        let Some(head) = head(&mut stream) else { return };
        let first = head.lines().next().unwrap_or_default().to_owned();
        lines.lock().expect("no panic").push(first);
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        if status.starts_with("200") {
            let there = TcpStream::connect(to).expect("a server");
            let (mut from, mut back) = (stream.try_clone().expect("it"), stream);
            let (mut onward, mut answers) = (there.try_clone().expect("it"), there);
            thread::spawn(move || std::io::copy(&mut from, &mut onward));
            let _ = std::io::copy(&mut answers, &mut back);
        }
    });
    (address, asked)
}

/// Has `serve` see to each connection at a free port, in a thread of its own.
fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// The head of a request; none where the client hangs up, or TLS fails.
fn head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut buffer) = (Vec::new(), [0; 1_024]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => head.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}

/// What the doctor says of a provider at `url`, when the root of the fixtures is trusted.
fn told(url: &str, variables: &[(&str, String)]) -> String {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("host.toml");
    let text = format!(
        "[vault]\npath = \"vault\"\nkey = {{ file = \"key\", create_if_missing = true }}\n\
         [providers.there]\nmethods = [\"api-key\"]\nbase_url = \"{url}\"\n"
    );
    fs::write(&file, text).expect("written");
    let mut command = program::command("repl");
    command.arg("--config").arg(&file).env("SSL_CERT_FILE", fixture("root.pem"));
    for name in ["SSL_CERT_DIR", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        command.env_remove(name).env_remove(name.to_lowercase());
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the repl runs");
    let mut typed = child.stdin.take().expect("a pipe");
    typed.write_all(b"doctor\n").expect("it reads");
    drop(typed);
    let output = program::wait(child);
    // A diagnosis of something that fails is what the program complains about.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).expect("text");
    // One line for each finding, whatever the width of its columns.
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

/// The line of the finding that begins like that, after the names of its providers.
fn finding<'t>(told: &'t str, beginning: &str) -> &'t str {
    let line = told.lines().find(|line| line.contains(beginning));
    line.unwrap_or_else(|| panic!("no {beginning}: {told}"))
}

/// What the doctor says of a server with this certificate that is asked for as localhost.
fn told_of(certificate: &str) -> (String, String) {
    let origin = format!("https://localhost:{}", server(certificate).port());
    (told(&origin, &[]), origin)
}

#[test]
fn a_server_with_a_trusted_certificate_is_well() {
    let (told, origin) = told_of("good.pem");
    let well = finding(&told, &format!("{origin} http good"));
    assert!(well.ends_with("it answers, with 200 OK"), "{well}");
    assert!(!told.contains("failed"), "{told}");
}

#[test]
fn a_certificate_that_is_not_to_be_trusted_is_told_by_what_is_wrong_with_it() {
    for (certificate, says) in [
        ("self_signed.pem", "UnknownIssuer"),
        ("another.pem", "not valid for name"),
        ("expired.pem", "or the clock of this machine is wrong"),
        ("early.pem", "or the clock of this machine is wrong"),
    ] {
        let (told, origin) = told_of(certificate);
        let failed = finding(&told, &format!("{origin} tls failed"));
        assert!(failed.contains(says), "{certificate}: {failed}");
        assert_eq!(failed.contains("clock"), says.contains("clock"), "{certificate}: {failed}");
    }
}

#[test]
fn a_proxy_that_opens_a_way_is_named_and_what_is_behind_it_is_reached() {
    let (proxy, asked) = proxy("200 Connection established", server("good.pem"));
    let url = "https://provider.example";
    // Nobody knows that name here: the proxy alone does.
    let through = [("HTTPS_PROXY", format!("http://ada:s3cret@{proxy}"))];
    let told = told(url, &through);
    let way = finding(&told, &format!("http://{proxy} proxy good"));
    assert!(way.ends_with("requests to provider.example go through it"), "{way}");
    let well = finding(&told, &format!("{url} http good"));
    assert!(well.ends_with("it answers, with 200 OK"), "{well}");
    assert!(!told.contains("s3cret") && !told.contains("failed"), "{told}");
    let asked = asked.lock().expect("no panic").clone();
    assert!(asked.contains(&"CONNECT provider.example:443 HTTP/1.1".to_owned()), "{asked:?}");
}

#[test]
fn a_proxy_that_opens_no_way_is_what_fails() {
    let (proxy, _) = proxy("403 Forbidden", server("good.pem"));
    let told = told("https://provider.example", &[("HTTPS_PROXY", format!("http://{proxy}"))]);
    finding(&told, "https://provider.example proxy failed");
}
