//! What somebody finds who takes the disk: after long use by many users, no name and no secret stands
//! in any byte of the vault, of its backup or of its export, and nothing else that can be read either
//! but what the engines and the headers are known to write.

mod scene;
#[path = "../common/search.rs"]
mod search;

use std::collections::BTreeMap;
use std::path::PathBuf;

use tokenward::vault::Engine;

use crate::scene::{LABELS, METHODS, PROVIDERS, Scene, USERS};
use crate::search::{Needles, Strings};

/// What an engine writes beside what it keeps: sled its settings and the name of its one tree, redb
/// the names of its tables.
const OF_ENGINES: [&str; 15] = [
    "segment_size: 524288",
    "use_compression: false",
    "version: 0.34",
    "__sled__default",
    "allocator_state",
    "next_savepoint_id",
    "persistent_savepoints",
    "data_pages_unreachable",
    "data_allocated_pages",
    "data_pending_free",
    "system_pages_unreachable",
    "system_allocated_pages",
    "system_pending_free",
    "redb::TransactionIdWithPagination",
    "tokenward export",
];

/// The fields of the headers of a vault and of an export, which are readable on purpose: how a master
/// key is derived has to be known before there is one.
const OF_HEADERS: [&str; 14] = [
    "format",
    "vault",
    "check",
    "ring",
    "since",
    "passphrase",
    "former",
    "derivation",
    "function",
    "salt",
    "memory_kib",
    "passes",
    "lanes",
    "argon2id",
];

/// What remains of a run when all that is known is taken away.
fn unknown(run: &str) -> Vec<String> {
    // In these files a line is a run of its own.
    if run.starts_with("store") || run.starts_with("remove store") {
        return Vec::new();
    }
    let mut rest = run.to_owned();
    for known in OF_ENGINES {
        rest = rest.replace(known, "\n");
    }
    while let Some(from) = rest.find("{\"format\":") {
        let mut headers = serde_json::Deserializer::from_str(&rest[from..]).into_iter();
        let Some(Ok(header)) = headers.next() else { break };
        assert_is_header(&header);
        let to = from + headers.byte_offset();
        rest.replace_range(from..to, "\n");
    }
    rest.split('\n').map(str::to_owned).collect()
}

/// Fields that are known, numbers, and bytes in base64.
fn assert_is_header(value: &serde_json::Value) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                assert!(OF_HEADERS.contains(&name.as_str()), "{name} is no field of a header");
                assert_is_header(value);
            }
        }
        serde_json::Value::String(text) if OF_HEADERS.contains(&text.as_str()) => {}
        serde_json::Value::String(text) => {
            let bytes = STANDARD.decode(text).expect("base64");
            assert!(bytes.len() >= 12, "{text} is too short for a key or a salt");
        }
        serde_json::Value::Number(_) => {}
        _ => panic!("{value} is in no header"),
    }
}

async fn nothing_is_found(engine: Engine) {
    let mut scene = Scene::open(engine).await;
    let mut files = BTreeMap::new();
    for round in 0..2 {
        scene.everybody_signs_in().await;
        scene.everything_is_used().await;
        scene.tokens_are_renewed().await;
        scene.sessions_are_opened_and_closed().await;
        scene.keys_are_rotated().await;
        look(&scene, &format!("round {round}, open"), &mut files);
        scene.copies_are_made(round).await;
        scene.restart().await;
        look(&scene, &format!("round {round}, opened again"), &mut files);
    }
    scene.one_user_is_erased().await;
    look(&scene, "erased", &mut files);
    scene.close().await;
    look(&scene, "closed", &mut files);

    let texts = scene.texts();
    assert!(texts.len() > 100, "{} names and secrets are looked for", texts.len());
    let needles = Needles::new(texts.iter().map(String::as_str));
    let mut strings = Strings::default();
    let mut bytes = 0;
    for (content, (when, path)) in &files {
        let found = needles.find(content);
        assert!(found.is_empty(), "{engine}, {when}: {found:?} in {}", path.display());
        strings.add(content);
        bytes += content.len();
    }
    assert_eq!(strings.readable(unknown), Vec::<String>::new(), "{engine}");

    the_search_would_have_found_it(&texts, &files);
    println!(
        "{engine}: {} texts in 13 forms, {} files, {bytes} bytes, {} runs of printable \
         characters: nothing found",
        texts.len(),
        files.len(),
        strings.count()
    );
}

/// All that files ever held, with when that was found where.
type Files = BTreeMap<Vec<u8>, (String, PathBuf)>;

fn look(scene: &Scene, when: &str, files: &mut Files) {
    for (path, content) in scene.files() {
        files.entry(content).or_insert_with(|| (when.to_owned(), path));
    }
}

/// The same search, over the same files, of which one now holds something.
fn the_search_would_have_found_it(texts: &[String], files: &Files) {
    let largest = files.keys().max_by_key(|content| content.len()).expect("a file");
    for name in USERS.iter().chain(&PROVIDERS).chain(&LABELS).chain(&METHODS) {
        assert!(texts.iter().any(|text| text == name), "{name} is looked for");
    }
    let needles = Needles::new(texts.iter().map(String::as_str));
    let secret = texts.iter().max_by_key(|text| text.len()).expect("a text");
    let mut opened = largest.clone();
    let middle = opened.len() / 2;
    let planted = [USERS[1], PROVIDERS[0], LABELS[0], METHODS[0], secret];
    for (number, text) in planted.into_iter().enumerate() {
        let at = within_nothing(&opened, middle + number * 4_096);
        opened.splice(at..at, text.bytes());
    }
    let found = needles.find(&opened);
    assert!(planted.iter().all(|text| found.contains(text)), "{found:?}");

    let mut strings = Strings::default();
    for content in files.keys() {
        strings.add(content);
    }
    let record = br#"{"refresh_token":"x","expires_in":3600,"scope":"openid"}"#;
    let at = within_nothing(&opened, middle);
    opened.splice(at..at, *record);
    strings.add(&opened);
    let readable = strings.readable(unknown).concat();
    assert!(readable.contains("refresh_token"), "{readable}");
}

/// The next place from `at` on that has nothing printable before it: a header that is cut in two is
/// no header, and that is not what is tried.
fn within_nothing(content: &[u8], at: usize) -> usize {
    let printable = |byte: &u8| (b' '..=b'~').contains(byte);
    let next = content[at..].iter().position(|byte| !printable(byte)).expect("sealed bytes");
    at + next + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_can_be_read_in_a_vault_on_sled() {
    nothing_is_found(Engine::Sled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_can_be_read_in_a_vault_on_redb() {
    nothing_is_found(Engine::Redb).await;
}
