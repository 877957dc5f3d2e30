//! Secrets at places of the settings where none belongs: what is told of it names the place, and not what
//! stands there.

use std::path::Path;

use tokenward::Settings;

use crate::cage::CANARY;
use crate::capture::Capture;

/// Files that somebody could have written in a hurry.
const FILES: [&str; 12] = [
    "[vault]\nkey = \"CANARY\"\n",
    "[vault]\nkey = { file = \"vault.key\", value = \"CANARY\" }\n",
    "[vault]\nkey = { env = \"VAULT_KEY\" }\npath = \"vault\"\n",
    "[providers.openai]\napi_key = \"CANARY\"\n",
    "[providers.openai]\napi_key.value = [\"CANARY\"]\n",
    "[providers.openai]\napi_key.valeu = \"CANARY\"\n",
    "[providers.openai]\napi_key.value = \"CANARY\n",
    "[providers.openai]\nclient = \"CANARY\"\n",
    "[providers.orange.oauth]\nclient_secret = { environment = \"CANARY\" }\n",
    "[providers.orange.oauth]\nclient_secret = \"CANARY\"\n",
    "[providers.google]\nbase_url = \"https://ada:CANARY@[example.com/\"\n",
    "[token_requests]\ndeadline = \"CANARY\"\n",
];

/// Everything that can be shown of such settings, and of the environment when it is as wrong.
pub(crate) fn are_told(capture: &Capture, folder: &Path) {
    for file in FILES {
        let settings = Settings::new()
            .with_toml("host.toml", &file.replace("CANARY", CANARY))
            .with_variables(|_| None);
        let wrong = settings.check();
        assert!(wrong.is_err(), "it can not be used: {file}");
        told(capture, &settings);
    }
    let in_the_open = format!("[providers.orange.oauth]\nclient_secret = \"{CANARY}\"\n");
    let path = folder.with_extension("toml");
    std::fs::write(&path, in_the_open).expect("written");
    told(capture, &Settings::load(&path));
    std::fs::remove_file(path).expect("it was there");
    // Each variable that is for a secret has it; and then each one at all, of which those that are right, as
    // the id of a client, may be shown.
    let is_secret = |name: &str| name.ends_with("_KEY") || name.ends_with("_SECRET");
    let canary = move |name: &str| is_secret(name).then(|| CANARY.to_owned());
    told(capture, &Settings::new().with_variables(canary));
    let everywhere = Settings::new().with_variables(|_| Some(CANARY.to_owned()));
    capture.result(&everywhere.check());
    let set = Settings::new().set("token_requests.deadline", CANARY).set_secret("nothing", CANARY);
    told(capture, &set);
}

fn told(capture: &Capture, settings: &Settings) {
    let checked = settings.check();
    capture.result(&checked);
    if let Err(problems) = checked {
        capture.note(problems);
    }
    capture.note(settings.explain());
    capture.show(&settings.explain());
    capture.note(settings.warnings().join("\n"));
    capture.show(settings);
}
