use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::identity::{Method, ProviderId};
use crate::provider::{Provider as _, ProviderSpec};
use crate::secret::Secret;
use crate::vault::audit::AuditRetention;
use crate::vault::{DataKeyPolicy, Engine};

const VAULT: &str = "[vault]\npath = \"v\"\nkey = { file = \"k\", create_if_missing = true }\n";

fn toml(text: &str) -> Settings {
    Settings::new().with_toml("test.toml", text).with_variables(|_| None)
}

fn with(settings: Settings, variables: &[(&str, &str)]) -> Settings {
    let variables: HashMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    settings.with_variables(move |name| variables.get(name).cloned())
}

/// The one provider that `settings` select, without a problem.
fn spec(settings: &Settings, id: &str) -> ProviderSpec {
    let completed = settings.completed();
    let mut problems = completed.problems.clone();
    let spec = completed.spec(id, &Origin::Builder, &mut problems);
    completed.provider(id, &Origin::Builder, &mut problems);
    assert_eq!(problems, [], "{id}");
    spec.expect("no problem")
}

/// All problems as they are printed.
fn problems(settings: &Settings) -> Vec<String> {
    settings.check().err().iter().flat_map(Problems::iter).map(ToString::to_string).collect()
}

fn file(line: usize) -> Origin {
    Origin::File { file: "test.toml".to_owned(), line }
}

#[test]
fn an_empty_section_selects_a_built_in_provider_as_it_is() {
    for name in crate::provider::catalog::names() {
        let settings = toml(&format!("[providers.{name}]"));
        assert_eq!(Some(spec(&settings, name)), crate::provider::catalog::find(name));
    }
}

#[test]
fn a_memory_bank_needs_its_address_and_its_client_from_wherever_they_come() {
    let mut missing = problems(&toml("[providers.memory-bank]"));
    missing.retain(|problem| problem.contains("memory-bank"));
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(missing[0].starts_with("providers.memory-bank.base_url"), "{missing:?}");

    let settings = toml("[providers.memory-bank]").with_variables(|name| {
        let value = match name {
            "MEMORY_BANK_URL" => "https://memory.example/bank",
            "MEMORY_BANK_CLIENT_ID" => "id",
            "MEMORY_BANK_CLIENT_SECRET" => "secret",
            _ => return None,
        };
        Some(value.to_owned())
    });
    let bank = spec(&settings, "memory-bank");
    let url = "https://memory.example/bank".parse().expect("a url");
    let preset = crate::provider::catalog::memory_bank(url);
    assert_eq!(bank, preset.client("id").client_secret("secret"));
}

#[test]
fn one_setting_of_a_built_in_provider_changes_and_the_others_stay() {
    let settings = toml(
        "[providers.openai]\nclient = \"public\"\n[providers.openai.oauth]\nscopes = [\"openid\"]\n\
         parameters.originator = false\nparameters.prompt = \"login\"\nrevocation_endpoint = false",
    );
    let openai = spec(&settings, "openai");
    assert_eq!(openai.oauth.client_id.as_deref(), Some("app_EMoamEEZ73f0CkXaXp7hrann"));
    assert_eq!(openai.oauth.scopes, ["openid"]);
    assert_eq!(openai.oauth.revocation_endpoint, None);
    let names: Vec<_> = openai.oauth.authorization.iter().map(|it| it.name.as_str()).collect();
    assert!(!names.contains(&"originator") && names.ends_with(&["state", "prompt"]), "{names:?}");
    let preset = crate::provider::catalog::openai();
    assert_eq!(openai.oauth.token_endpoint, preset.oauth.token_endpoint);
    assert_eq!(openai.errors, preset.errors);
}

#[test]
fn the_program_wins_over_the_environment_and_that_over_the_file() {
    let text = "[providers.openai.oauth]\nclient_id = \"of-the-file\"\nscopes = [\"a\"]\n";
    let settings = toml(text);
    let client = |settings: &Settings| spec(settings, "openai").oauth.client_id;
    let origin = |settings: &Settings| settings.origin("providers.openai.oauth.client_id");
    assert_eq!(client(&settings).as_deref(), Some("of-the-file"));
    assert_eq!(origin(&settings), Some(file(2)));

    let settings = with(settings, &[("OPENAI_OAUTH_CLIENT_ID", "of-the-variable")]);
    assert_eq!(client(&settings).as_deref(), Some("of-the-variable"));
    let variable = Origin::Variable("OPENAI_OAUTH_CLIENT_ID".to_owned());
    assert_eq!(origin(&settings), Some(variable.clone()));

    let settings = settings.set("providers.openai.oauth.client_id", "of-the-program");
    assert_eq!(client(&settings).as_deref(), Some("of-the-program"));
    let explained =
        settings.explain_setting("providers.openai.oauth.client_id").expect("it is set");
    assert_eq!(explained.origin, Origin::Builder);
    assert_eq!(explained.over, [variable, file(2)]);
    assert_eq!(
        explained.to_string(),
        "providers.openai.oauth.client_id = \"of-the-program\", by builder, over variable \
         OPENAI_OAUTH_CLIENT_ID and test.toml:2"
    );

    assert_eq!(settings.origin("providers.openai.oauth.scopes"), Some(file(3)), "by field");
    let preset = Origin::Preset("openai".to_owned());
    assert_eq!(settings.origin("providers.openai.oauth.token_endpoint"), Some(preset));
    assert_eq!(settings.origin("sessions.timeout"), Some(Origin::Default));
    assert_eq!(settings.origin("sessions.color"), None);
}

#[test]
fn a_variable_gives_the_secret_to_the_client_of_the_file() {
    let settings = toml("[providers.google.oauth]\nclient_id = \"desktop\"");
    let google = spec(&with(settings, &[("GOOGLE_OAUTH_CLIENT_SECRET", "shh")]), "google");
    assert_eq!(google.oauth.client_id.as_deref(), Some("desktop"));
    assert_eq!(google.oauth.client_secret, Some(Secret::new("shh")));
}

#[test]
fn the_public_client_is_selected_by_name_and_yields_to_a_variable() {
    let settings = toml("[providers.openai]\nclient = \"public\"");
    let settings = with(settings, &[("OPENAI_OAUTH_CLIENT_ID", "own")]);
    assert_eq!(spec(&settings, "openai").oauth.client_id.as_deref(), Some("own"));
    let both = toml(&format!(
        "{VAULT}[providers.openai]\nclient = \"public\"\noauth.client_id = \"own\"\n\
         [providers.google]\nclient = \"public\"\n"
    ));
    assert_eq!(
        problems(&both),
        [
            "providers.google.client (test.toml:8): names a public client, and this provider \
             publishes none, set oauth.client_id to a client of your own",
            "providers.openai.client (test.toml:5): stands beside oauth.client_id, leave one out",
        ]
    );
}

#[test]
fn what_concerns_every_provider_reaches_every_one_that_is_selected() {
    let settings = toml("[providers.openai]\n[providers.mine]\nbase_url = \"https://a.example\"");
    let settings = with(
        settings,
        &[("OAUTH_REFRESH_THRESHOLD_MINUTES", "7"), ("ANTHROPIC_OAUTH_CLIENT_ID", "unused")],
    );
    for name in ["openai", "mine"] {
        let threshold = settings.explain_setting(&format!("providers.{name}.refresh.threshold"));
        assert_eq!(threshold.map(|it| it.value).as_deref(), Some("\"7m\""), "{name}");
    }
    let (resolved, _) = settings.resolve(false);
    assert!(resolved.providers.iter().all(|provider| provider.id().as_str() != "anthropic"));
    assert_eq!(settings.warnings().len(), 1, "{:?}", settings.warnings());
}

#[test]
fn a_provider_that_the_crate_never_heard_of_needs_few_settings() {
    let settings = toml(
        "[providers.mine]\nbase_url = \"https://api.example\"\nmethods = [\"authorization-code\"]\n\
         [providers.mine.oauth]\nauthorization_endpoint = \"https://example/authorize\"\n\
         token_endpoint = \"https://example/token\"\nclient_id = \"me\"\n\
         parameters.audience = \"everybody\"\n",
    );
    let mine = spec(&settings, "mine");
    let headers = mine.headers(Method::AuthorizationCode, &Secret::new("at")).expect("headers");
    assert_eq!(headers["authorization"], "Bearer at");
    assert_eq!(mine.redirect().map(|rules| rules.host.as_str()), Some("127.0.0.1"));
    assert!(mine.oauth.authorization.iter().any(|it| it.name == "audience"));
}

#[test]
fn another_account_of_a_built_in_provider_begins_with_its_preset() {
    let settings = toml("[providers.work]\npreset = \"anthropic\"\nuser_agent = \"mine/1\"");
    let work = spec(&settings, "work");
    assert_eq!(work.id, ProviderId::new("work").expect("a name"));
    assert_eq!(work.user_agent, "mine/1");
    assert_eq!(work.headers, crate::provider::catalog::anthropic().headers);
    let blank = toml("[providers.openai]\npreset = false");
    assert_eq!(blank.origin("providers.openai.oauth.token_endpoint"), None);
}

#[test]
fn everything_wrong_is_told_at_once_with_its_setting_and_its_source() {
    let settings = toml(
        "[vault]\npath = 7\n\
         [session]\ntimeout = \"1h\"\n\
         [sessions]\ntimeout = \"soon\"\n\
         [providers.openai]\nclient_id = \"x\"\nbase_url = \"http://api.example\"\n\
         [providers.orange]\noauth.client_secret = { env = \"NOWHERE\" }\n\
         [providers.mine]\nmethods = [\"password\"]\n\
         [providers.open]\npreset = \"openia\"\n",
    );
    let settings = with(settings, &[("OAUTH_CACHE_ENABLED", "perhaps")])
        .set("providers.openai.refresh.threshold", 5)
        .set("providers.openai.oauth.token_endpiont", "https://x.example");
    let told = problems(&settings);
    let places: Vec<_> = told.iter().filter_map(|it| it.split(": ").next()).collect();
    assert_eq!(
        places,
        [
            "vault.path (test.toml:2)",
            "session (test.toml:3)",
            "sessions.timeout (test.toml:6)",
            "providers.openai.client_id (test.toml:8)",
            "providers.mine.methods (test.toml:13)",
            "OAUTH_CACHE_ENABLED (environment)",
            "providers.openai.refresh.threshold (builder)",
            "providers.openai.oauth.token_endpiont (builder)",
            "providers.open.preset (test.toml:15)",
            "vault.path (default)",
            "vault.key (default)",
            "providers.mine.base_url (test.toml:12)",
            "providers.mine.methods (test.toml:12)",
            "providers.open.base_url (test.toml:14)",
            "providers.open.methods (test.toml:14)",
            "providers.openai.base_url (test.toml:9)",
            "providers.orange.oauth.client_secret (test.toml:11)",
        ]
    );
    for text in [
        "does not fit, write the path of a folder",
        "is no setting, did you mean `sessions`?",
        "does not fit, write a duration such as \"5m\"",
        "is no setting, did you mean `oauth.client_id`?",
        "is no setting, did you mean `token_endpoint`?",
        "is no built-in provider, use one of anthropic, openai,",
        "is missing, set it to { file = \"agent.key\", create_if_missing = true }, { env = ",
        "or set the variable CREDENTIAL_ENCRYPTION_KEY",
        "the variable NOWHERE is not set",
    ] {
        assert!(told.iter().any(|it| it.contains(text)), "{text}");
    }
}

#[test]
fn a_misspelt_section_of_a_provider_is_told_which_one_was_meant() {
    let settings = toml(&format!("{VAULT}[providers.antropic]\n"));
    assert_eq!(
        problems(&settings),
        ["providers.antropic (test.toml:4): is no built-in provider, did you mean `anthropic`? \
             one of your own needs base_url and methods, or a preset"]
    );
    // Of what is like none of them, what it needs is told.
    let told = problems(&toml(&format!("{VAULT}[providers.entirely-mine]\n")));
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|it| it.contains("is missing, set")), "{told:?}");
}

#[test]
fn a_file_that_is_no_toml_names_the_line_and_quotes_nothing() {
    let settings = toml("[providers.openai.oauth]\nclient_secret = \"canary\n");
    let told = problems(&settings);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("test.toml:2") && !told[0].contains("canary"), "{told:?}");
    let absent = Settings::new().with_file("/nowhere/tokenward.toml").with_variables(|_| None);
    assert_eq!(problems(&absent).len(), 1, "{:?}", problems(&absent));
}

#[test]
fn no_secret_is_shown_and_one_in_the_open_is_warned_about() {
    let folder = tempfile::tempdir().expect("a folder");
    write_private(&folder.path().join("secret"), "canary-file\n");
    let path = folder.path().join("tokenward.toml");
    let text = "[providers.google.oauth]\nclient_id = \"g\"\nclient_secret = \"canary-open\"\n\
         [providers.orange.oauth]\nclient_id = \"o\"\nclient_secret = { file = \"secret\" }\n\
         [providers.openai]\napi_key.value = { env = \"MY_KEY\" }\n\
         headers.token = [[\"x-tenant\", \"canary-header\"], [\"a\", \"{secret}\"]]\n";
    std::fs::write(&path, text).expect("a file");
    let settings = with(Settings::new().with_file(&path), &[("MY_KEY", "sk-canary")])
        .set_secret("providers.anthropic.api_key.value", "sk-ant-api-canary");

    let (resolved, problems) = settings.resolve(false);
    assert_eq!(problems, []);
    let key = |name: &str| &resolved.api_keys[&ProviderId::new(name).expect("a name")];
    assert_eq!(key("openai").key, Secret::new("sk-canary"));
    assert_eq!(spec(&settings, "orange").oauth.client_secret, Some(Secret::new("canary-file")));
    let printed = format!("{}\n{settings:?}\n{:?}", settings.explain(), resolved.api_keys);
    assert!(!printed.contains("canary"), "{printed}");
    let warnings = settings.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("providers.google.oauth.client_secret"), "{warnings:?}");
}

#[test]
fn paths_in_a_file_are_meant_from_its_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokenward.toml");
    std::fs::write(&path, format!("{VAULT}[providers.openai]\n")).expect("a file");
    let settings = Settings::new().with_file(&path).with_variables(|_| None);
    let shown = format!("{:?}", settings.resolve(true).0.vault.expect("a vault"));
    assert!(shown.contains(&*folder.path().join("v").to_string_lossy()), "{shown}");
    assert!(shown.contains(&*folder.path().join("k").to_string_lossy()), "{shown}");
}

#[test]
fn the_key_in_the_environment_wins_over_the_key_file() {
    let settings = toml(&format!("{VAULT}[providers.openai]\n"));
    let key = "00".repeat(32);
    let settings = with(settings, &[("CREDENTIAL_ENCRYPTION_KEY", &key)]);
    let shown = format!("{:?}", settings.resolve(true).0.vault.expect("a vault"));
    assert!(shown.contains("environment variable CREDENTIAL_ENCRYPTION_KEY"), "{shown}");
    let explained = settings.explain_setting("vault.key").expect("it is set");
    assert_eq!(explained.over, [file(3)]);
    for (place, told) in [
        ("{ env = \"A\" }", "names the variable A"),
        ("{ env = \"A\", file = \"b\" }", "not exactly one"),
        ("{ }", "not exactly one"),
        ("{ env = \"A\", create_if_missing = true }", "in a file or the keyring"),
        ("{ file = \"a\", keyring = \"b\" }", "not exactly one"),
        ("{ env = \"A\", passphrase = true }", "set it to the passphrase"),
        ("{ file = \"a\", passphrase = true, create_if_missing = true }", "never created"),
        ("\"canary\"", "does not fit"),
        ("{ bytes = \"canary\" }", "does not fit"),
    ] {
        let settings = toml(&format!("[vault]\npath = \"v\"\nkey = {place}\n[providers.openai]\n"));
        let told_now = problems(&settings).join("; ");
        assert!(told_now.contains(told) && !told_now.contains("canary"), "{place}: {told_now}");
    }
}

#[test]
fn a_passphrase_and_the_keyring_are_places_for_the_master_key() {
    let key =
        |place: &str| toml(&format!("[vault]\npath = \"v\"\nkey = {place}\n[providers.openai]\n"));
    let shown = |settings: Settings| format!("{:?}", settings.resolve(true).0.vault);
    let file = shown(key("{ file = \"k\", passphrase = true }"));
    assert!(file.contains("passphrase from file"), "{file}");
    let variable = with(key("{ env = \"PASS\", passphrase = true }"), &[("PASS", "canary")]);
    let variable = shown(variable);
    assert!(variable.contains("passphrase from environment variable PASS"), "{variable}");
    assert!(!variable.contains("canary"));
    let keyring = key("{ keyring = \"agent\", create_if_missing = true }");
    if cfg!(feature = "keyring") {
        assert!(shown(keyring).contains("service agent"));
    } else {
        assert!(problems(&keyring).join("; ").contains("feature keyring"));
    }
}

/// The example in the documentation, as it is and with every setting taken in.
fn example() -> (String, String) {
    let text =
        include_str!("../../docs/tokenward.toml").replace("VERSION", env!("CARGO_PKG_VERSION"));
    let taken_in = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && (!rest.starts_with(' ') || rest.starts_with("    ")) => {
            format!("{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    let whole = text.lines().map(taken_in).collect();
    (text, whole)
}

#[test]
fn the_example_file_can_be_used_as_it_is() {
    let (text, _) = example();
    assert_eq!(problems(&toml(&text)), [""; 0]);
}

#[test]
fn the_example_file_has_every_setting_with_its_default() {
    let (_, whole) = example();
    let settings = toml(&whole);
    assert_eq!(settings.problems, []);
    let shows = |known: &str| {
        let matches = |path: &SettingPath| {
            let names = known.split('.');
            let keys = path.keys();
            known.split('.').count() == keys.len()
                && names.zip(keys).all(|(name, key)| name == "*" || name == key)
        };
        settings.given.keys().any(matches)
    };
    let missing: Vec<_> = SCHEMA.0.iter().map(|known| known.path).filter(|it| !shows(it)).collect();
    assert_eq!(missing, [""; 0], "add them to docs/tokenward.toml");

    let completed = settings.completed();
    for (path, given) in &completed.given {
        let [first, .., last] = given.as_slice() else { continue };
        if first.origin == Origin::Default {
            assert_eq!(last.value, first.value, "{path} has another default");
        }
    }
}

#[test]
fn the_vault_has_the_engine_the_reserve_and_the_retention_that_are_set() {
    let set = format!(
        "{VAULT}engine = \"sled\"\nreserve = 1024\n[providers.openai]\n\
         [audit]\nretention.keep = \"30days\"\nretention.at_least = 7\n"
    );
    let settings = toml(&set);
    assert_eq!(problems(&settings), [""; 0]);
    let resolved = settings.resolve(true).0;
    let vault = resolved.vault.expect("a vault");
    assert_eq!((vault.engine, vault.reserve), (Engine::Sled, 1024));
    let month = Duration::from_hours(30 * 24);
    assert_eq!(resolved.audit_retention, AuditRetention { keep: Some(month), at_least: 7 });

    let plain = toml(&format!("{VAULT}[providers.openai]\n")).resolve(true).0;
    assert_eq!(plain.audit_retention, AuditRetention::default());
    let for_ever = set.replace("\"30days\"", "false");
    assert_eq!(toml(&for_ever).resolve(true).0.audit_retention.keep, None);
    assert_eq!(vault.data_keys, DataKeyPolicy::default());
    let at_once = toml(&set.replace("30days", "0s"));
    assert!(problems(&at_once).join("; ").contains("audit.retention.keep (test.toml:8): is zero"));
    let unknown = toml(&set.replace("sled", "sqlite"));
    assert!(problems(&unknown).join("; ").contains("vault.engine (test.toml:4)"));
}

#[test]
fn the_data_keys_of_the_vault_rotate_as_it_is_set() {
    let set = |after: &str, seals: u64| {
        toml(&format!(
            "{VAULT}data_keys.rotate_after = \"{after}\"\ndata_keys.rotate_after_seals = {seals}\n\
             [providers.openai]\n"
        ))
    };
    let settings = set("7days", 5_000);
    assert_eq!(problems(&settings), [""; 0]);
    let week =
        DataKeyPolicy { rotate_after: Duration::from_hours(7 * 24), rotate_after_seals: 5_000 };
    assert_eq!(settings.resolve(true).0.vault.expect("a vault").data_keys, week);
    for only_rotating in [set("1s", 5_000), set("7days", 10)] {
        let told = problems(&only_rotating).join("; ");
        assert!(told.contains("vault.data_keys (test.toml:5): the data key is to be"), "{told}");
    }
}

#[cfg(feature = "redb")]
#[test]
fn the_other_engine_can_be_set() {
    let settings = toml(&format!("{VAULT}engine = \"redb\"\n[providers.openai]\n"));
    assert_eq!(settings.resolve(true).0.vault.expect("a vault").engine, Engine::Redb);
}

/// Settings of different kinds, with two values each that a file can write.
const FIELDS: [(&str, [&str; 3]); 6] = [
    ("sessions.timeout", ["\"1h\"", "\"2h\"", "\"3h\""]),
    ("token_requests.body", ["1000", "2000", "3000"]),
    ("providers.openai.user_agent", ["\"a/1\"", "\"b/1\"", "\"c/1\""]),
    ("providers.openai.oauth.scopes", ["[\"a\"]", "[\"b\",\"c\"]", "[]"]),
    ("providers.openai.cache_tokens", ["true", "false", "true"]),
    ("providers.openai.oauth.parameters.prompt", ["\"login\"", "\"none\"", "false"]),
];

/// What the three layers say about one field: nothing, or one of its values.
fn layers() -> impl Strategy<Value = [Option<usize>; 3]> {
    proptest::array::uniform3(proptest::option::of(0_usize..3))
}

#[test]
fn an_api_key_without_the_prefix_that_is_set_is_told_without_either() {
    let set = "[providers.openai]\napi_key.prefix = \"canary-a\"\napi_key.not = [\"canary-b\"]\n";
    for key in ["sk-canary", "canary-a", ""] {
        let told = problems(&toml(&format!("{set}api_key.value = \"{key}\"\n"))).join("\n");
        assert!(told.contains("api_key.value"), "{told}");
        assert!(!told.contains("canary"), "{told}");
    }
}

proptest! {
    #[test]
    fn any_spread_over_the_layers_merges_field_by_field(
        spread in proptest::array::uniform6(layers()),
        program_first in any::<bool>(),
    ) {
        // Two files and the program; the later file stands where a variable would not reach.
        let document = |layer: usize| {
            let mut text = String::new();
            for ((name, values), said) in FIELDS.iter().zip(&spread) {
                if let Some(value) = said[layer] {
                    writeln!(text, "{name} = {}", values[value]).expect("memory");
                }
            }
            text
        };
        let program = |mut settings: Settings| {
            for ((name, values), said) in FIELDS.iter().zip(&spread) {
                if let Some(value) = said[2] {
                    let table: toml::Table =
                        format!("it = {}", values[value]).parse().expect("toml");
                    settings = settings.set(name, &table["it"]);
                }
            }
            settings
        };
        let files = |settings: Settings| {
            settings.with_toml("one", &document(0)).with_toml("two", &document(1))
        };
        let empty = Settings::new().with_variables(|_| None);
        let settings =
            if program_first { files(program(empty)) } else { program(files(empty)) };
        prop_assert_eq!(&settings.problems, &[]);

        for ((name, values), said) in FIELDS.iter().zip(&spread) {
            let winner = said.iter().enumerate().rev().find_map(|(layer, it)| it.map(|it| (layer, it)));
            let explained = settings.explain_setting(name).filter(|it| it.origin.is_set());
            match winner {
                None => prop_assert_eq!(explained, None),
                Some((layer, value)) => {
                    let explained = explained.expect("it is set");
                    prop_assert_eq!(explained.value.as_str(), values[value]);
                    match &explained.origin {
                        Origin::File { file, line } => {
                            prop_assert_eq!(file.as_str(), ["one", "two"][layer]);
                            let text = document(layer);
                            let at = text.lines().nth(line - 1).unwrap_or_default();
                            prop_assert!(at.starts_with(name), "{}", at);
                        }
                        origin => prop_assert_eq!((origin, layer), (&Origin::Builder, 2)),
                    }
                    let set = explained.over.iter().filter(|origin| origin.is_set()).count();
                    prop_assert_eq!(set + 1, said.iter().flatten().count());
                }
            }
        }
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,200}") {
        let _ = toml(&text).check();
    }

    #[test]
    fn arbitrary_toml_never_panics_and_never_shows_a_value(
        lines in proptest::collection::vec(line(), 0..12),
    ) {
        let settings = toml(&lines.join("\n"));
        let told = problems(&settings).join("\n");
        prop_assert!(!told.contains("canary"), "{}", told);
        let _ = settings.explain().to_string();
        let _ = settings.warnings();
    }
}

/// A line that may be a section or a setting, known or not, of a right or a wrong kind.
fn line() -> impl Strategy<Value = String> {
    let known: Vec<&str> = SCHEMA.0.iter().map(|known| known.path).collect();
    let name = prop_oneof![
        4 => proptest::sample::select(known).prop_map(|path| path.replace('*', "openai")),
        1 => "[a-z_]{1,8}(\\.[a-z_]{1,8}){0,3}",
        1 => "providers\\.\"[ -~&&[^\"\\\\]]{0,12}\"(\\.[a-z_]{1,8}){0,2}",
    ];
    let value = proptest::sample::select(vec![
        "\"canary\"",
        "7",
        "-1",
        "1.5",
        "nan",
        "true",
        "false",
        "1979-05-27",
        "[]",
        "[\"canary\"]",
        "[[\"canary\", \"canary\"]]",
        "{ env = \"canary-\" }",
        "{ env = \"NOWHERE\" }",
        "{ file = \"absent\" }",
        "{ name = \"canary\", value = \"canary\" }",
        "\"https://canary.example\"",
        "\"5m\"",
        "\"99999999999999999999y\"",
        "",
    ]);
    prop_oneof![
        1 => name.clone().prop_map(|name| format!("[{name}]")),
        5 => (name, value).prop_map(|(name, value)| format!("{name} = {value}")),
    ]
}

/// A file that nobody else can open.
fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).expect("a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    }
}
