//! The commands, one after the other: parsing, help and completion come from this table. To add
//! one, add its line here, its variant in `grammar`, and what it does in `commands`.

use tokenward::identity::Method;
use tokenward::testing::Fault;

use crate::account::Account;
use crate::grammar::{Command, Entry, How, STATES, STATUSES, Slot, Wait};
use crate::problem::Problem;
use crate::words::Words;

/// The table. Its order is the order of `help`.
pub(crate) const COMMANDS: &[Entry] = &[
    Entry {
        name: "help",
        arguments: "[COMMAND]",
        about: "list the commands, or explain one",
        more: "",
        slots: &[Slot::Command],
        parse: |words| Ok(Command::Help(words.optional())),
    },
    Entry {
        name: "user",
        arguments: "NAME",
        about: "act as this user",
        more: "A name that is new is a new user. What a user signs in to, and the sessions in which \
               they work, are theirs alone.",
        slots: &[Slot::User],
        parse: |words| Ok(Command::User(words.text()?)),
    },
    Entry {
        name: "users",
        arguments: "",
        about: "list the users there are",
        more: "",
        slots: &[],
        parse: |_| Ok(Command::Users),
    },
    Entry {
        name: "sign-in",
        arguments: "ACCOUNT [METHOD] [HOW]",
        about: "sign in, by the first method or by this one",
        more: "ACCOUNT is a provider, or provider:label where you have several accounts there: \
               openai, openai:work. `providers` lists the methods.\n\
               api-key: a simulated provider issues one, a real one takes the key that the settings \
               offer. HOW can be paste, when you give your own, and verify, when the provider is \
               to be asked before it is stored.\n\
               authorization-code: prints the address that a browser opens. HOW can be paste: then it \
               does not come back by itself.\n\
               device-code: prints an address and a code to type there, on any device.\n\
               client-credentials, jwt-bearer: at once.\n\
               Go on with approve, deny, paste TEXT or cancel. Your session uses what you signed in \
               to.",
        slots: &[Slot::Account, Slot::Method, HOW, HOW],
        parse: sign_in,
    },
    Entry {
        name: "approve",
        arguments: "",
        about: "be the user there, and agree",
        more: "The callback is a real request to the loopback listener. Of a provider that is not \
               simulated it opens the address on this machine and follows where it leads: for \
               servers that ask nothing.",
        slots: &[],
        parse: |_| Ok(Command::Approve),
    },
    Entry {
        name: "deny",
        arguments: "",
        about: "be the user there, and decline",
        more: "For simulated providers.",
        slots: &[],
        parse: |_| Ok(Command::Deny),
    },
    Entry {
        name: "paste",
        arguments: "TEXT",
        about: "complete it by key or code",
        more: "The key, the code, code#state, or the whole address at which the browser ended. It is \
               not kept in the history.",
        slots: &[],
        parse: |words| Ok(Command::Paste(words.text()?)),
    },
    Entry {
        name: "cancel",
        arguments: "",
        about: "give up your pending sign-in",
        more: "",
        slots: &[],
        parse: |_| Ok(Command::Cancel),
    },
    Entry {
        name: "sign-out",
        arguments: "ACCOUNT",
        about: "erase and revoke what you have there",
        more: "A provider alone stands for all your accounts there.",
        slots: &[Slot::Account],
        parse: |words| Ok(Command::SignOut(words.word_as()?)),
    },
    Entry {
        name: "use",
        arguments: "ACCOUNT [METHOD]",
        about: "let your next call go there",
        more: "Nothing is signed out by it.",
        slots: &[Slot::Account, Slot::Method],
        parse: |words| Ok(Command::Use { account: words.word_as()?, method: words.optional_as()? }),
    },
    Entry {
        name: "fallback",
        arguments: "ACCOUNT on|off",
        about: "let a sign-in fall back on your api key",
        more: "On: while your sign-in there needs you again, calls go on with the api key of the same \
               account. Off unless you say so, since a key is billed by its use.",
        slots: &[Slot::Account, Slot::OneOf(&["on", "off"])],
        parse: |words| {
            let (account, on) = (words.word_as()?, words.one_of(&["on", "off"])? == "on");
            Ok(Command::Fallback { account, allowed: on })
        },
    },
    Entry {
        name: "call",
        arguments: "[PATH [JSON]]",
        about: "send a GET, or a POST of JSON",
        more: "Without a path it asks for the provider's models, or sends a message at orange. An \
               answer that is no success is an error here.",
        slots: &[],
        parse: |words| Ok(Command::Call { path: words.optional(), body: words.optional_text() }),
    },
    Entry {
        name: "providers",
        arguments: "",
        about: "show what you are signed in to",
        more: "Of a provider where you have nothing, the methods that it offers. `status` is the same.",
        slots: &[],
        parse: |_| Ok(Command::Providers),
    },
    Entry {
        name: "explain",
        arguments: "",
        about: "show what your next call uses, and why",
        more: "And of everything else that you are signed in to, why it is not used. Nobody is asked.",
        slots: &[],
        parse: |_| Ok(Command::Explain),
    },
    Entry {
        name: "sessions",
        arguments: "",
        about: "list your sessions",
        more: "",
        slots: &[],
        parse: |_| Ok(Command::Sessions),
    },
    Entry {
        name: "session",
        arguments: "new|switch N|close N",
        about: "open one, choose one, close one",
        more: "By its number in `sessions`. You stay signed in when one is closed.",
        slots: &[Slot::OneOf(&["new", "switch", "close"])],
        parse: |words| match words.one_of(&["new", "switch", "close"])? {
            "new" => Ok(Command::NewSession),
            "switch" => Ok(Command::SwitchSession(words.number()?)),
            _ => Ok(Command::CloseSession(words.number()?)),
        },
    },
    Entry {
        name: "config",
        arguments: "[SETTING]",
        about: "show what is set, and by what",
        more: "With a setting: that one, also where nobody has set it. Secrets are never shown.",
        slots: &[Slot::Setting],
        parse: |words| Ok(Command::Config(words.optional())),
    },
    Entry {
        name: "health",
        arguments: "[PROVIDER]",
        about: "ask whether it works, or list all",
        more: "Without a credential of yours: it is asked whether it answers, or for a token by client \
               credentials, which is thrown away. Those in use are looked at by themselves every \
               15 seconds where they are simulated, else as the setting health says.",
        slots: &[Slot::Provider],
        parse: |words| Ok(Command::Health(words.optional())),
    },
    Entry {
        name: "doctor",
        arguments: "",
        about: "look at store, key, clock and network",
        more: "Of each address the lowest layer that fails: dns, connection, tls, http. No credential is \
               sent.",
        slots: &[],
        parse: |_| Ok(Command::Doctor),
    },
    Entry {
        name: "audit",
        arguments: "[N]",
        about: "show the audit trail, and verify it",
        more: "The latest N entries, 10 unless you say, of all users. Each hangs on the one before it: \
               one that was edited, moved or removed is found.",
        slots: &[],
        parse: |words| {
            let limit = words.optional().map(|number| words.read_number(&number)).transpose()?;
            Ok(Command::Audit(limit.unwrap_or(10)))
        },
    },
    Entry {
        name: "refresh",
        arguments: "ACCOUNT",
        about: "renew your token now, due or not",
        more: "",
        slots: &[Slot::Account],
        parse: |words| Ok(Command::Refresh(words.word_as()?)),
    },
    Entry {
        name: "expire",
        arguments: "ACCOUNT",
        about: "end the tokens there before their time",
        more: "A simulated provider refuses the next call, which renews the token and is sent again. \
               Where the provider is real, or you name a label, we stop using your token.",
        slots: &[Slot::Account],
        parse: |words| Ok(Command::Expire(words.word_as()?)),
    },
    Entry {
        name: "revoke",
        arguments: "PROVIDER",
        about: "let it withdraw all that it issued",
        more: "What was granted can not be renewed then: you have to sign in again.",
        slots: &[Slot::Provider],
        parse: |words| Ok(Command::Revoke(words.word()?)),
    },
    Entry {
        name: "fault",
        arguments: "PROVIDER [WHERE] KIND|off [N]",
        about: "let the next requests there go wrong",
        more: "N is 1 unless you say, or always. WHERE is an endpoint (token, device, resource, \
               revocation), and spares the others. `faults` lists the kinds; off forgets them all.",
        slots: &[Slot::Provider, Slot::Fault, Slot::OneOf(&["always"])],
        parse: fault,
    },
    Entry {
        name: "faults",
        arguments: "",
        about: "list what can go wrong",
        more: "",
        slots: &[],
        parse: |_| Ok(Command::Faults),
    },
    Entry {
        name: "breaker",
        arguments: "[PROVIDER [open|closed|disabled]]",
        about: "show what holds calls back, or set it",
        more: "A breaker opens by itself while most calls to its provider fail, and lets a few probe \
               later. Set by hand, open stays open and disabled lets every call through, until: \
               breaker PROVIDER closed.",
        slots: &[Slot::Provider, Slot::OneOf(BREAKER)],
        parse: breaker,
    },
    Entry {
        name: "stop",
        arguments: "PROVIDER",
        about: "begin an outage",
        more: "Connections are refused until: start PROVIDER.",
        slots: &[Slot::Provider],
        parse: |words| Ok(Command::Stop(words.word()?)),
    },
    Entry {
        name: "start",
        arguments: "PROVIDER",
        about: "end an outage",
        more: "",
        slots: &[Slot::Provider],
        parse: |words| Ok(Command::Start(words.word()?)),
    },
    Entry {
        name: "crash",
        arguments: "ACTOR",
        about: "kill an actor whatever it does",
        more: "ACTOR is a path as in `tree`, without the root: credentials/ada/openai/api-key. Its \
               supervisor starts it again.",
        slots: &[Slot::Actor],
        parse: |words| Ok(Command::Crash(words.text()?)),
    },
    Entry {
        name: "tree",
        arguments: "",
        about: "draw the actors, and how they fare",
        more: "",
        slots: &[],
        parse: |_| Ok(Command::Tree),
    },
    Entry {
        name: "events",
        arguments: "on|off",
        about: "print what happens as it happens",
        more: "",
        slots: &[Slot::OneOf(&["on", "off"])],
        parse: |words| Ok(Command::Events(words.one_of(&["on", "off"])? == "on")),
    },
    Entry {
        name: "wait",
        arguments: "ACCOUNT|ACTOR STATE [N] | TIME",
        about: "wait until it is so, at most 90s",
        more: "For your credential there to be in a state, of generation N or later; for an \
               actor to be running, restarting, asleep, quarantined or stopped, restarted N times or more; \
               or for a time such as 5s.",
        slots: &[Slot::ActorOrAccount, Slot::State],
        parse: wait,
    },
    Entry {
        name: "stats",
        arguments: "",
        about: "count what the providers saw",
        more: "`calls` are those that brought a credential; `looks` are those that brought none: health \
               checks, and `doctor`.",
        slots: &[],
        parse: |_| Ok(Command::Stats),
    },
    Entry {
        name: "vault",
        arguments: "",
        about: "show what the vault says about itself",
        more: "",
        slots: &[],
        parse: |_| Ok(Command::Vault),
    },
    Entry {
        name: "erase",
        arguments: "USER USER",
        about: "erase a user for good, the name twice",
        more: "Ends the user's sign-ins and sessions, deletes every record, and rewrites the vault's \
               files. It can not be undone.",
        slots: &[Slot::User, Slot::User],
        parse: erase,
    },
    Entry {
        name: "expect",
        arguments: "TEXT",
        about: "in scripts: the last answer contains TEXT",
        more: "",
        slots: &[],
        parse: |words| Ok(Command::Expect { text: words.text()?, wanted: true }),
    },
    Entry {
        name: "expect-not",
        arguments: "TEXT",
        about: "in scripts: the last answer does not",
        more: "",
        slots: &[],
        parse: |words| Ok(Command::Expect { text: words.text()?, wanted: false }),
    },
    Entry {
        name: "expect-error",
        arguments: "COMMAND...",
        about: "in scripts: COMMAND fails",
        more: "`expect` sees why.",
        slots: &[Slot::Command],
        parse: |words| Ok(Command::ExpectError(words.text()?)),
    },
    Entry {
        name: "quit",
        arguments: "",
        about: "finish what is under way, and leave",
        more: "",
        slots: &[],
        parse: |_| Ok(Command::Quit),
    },
];

/// How a breaker can be set.
const BREAKER: &[&str] = &["open", "closed", "disabled"];

fn breaker(words: &mut Words<'_>) -> Result<Command, Problem> {
    let provider = words.optional();
    let to = words.optional().map(|word| {
        BREAKER.iter().copied().find(|to| *to == word).ok_or_else(|| words.wrong(&word))
    });
    Ok(Command::Breaker { provider, to: to.transpose()? })
}

/// The name has to be written twice, since there is no way back.
fn erase(words: &mut Words<'_>) -> Result<Command, Problem> {
    let text = words.text()?;
    let halves = text.split_at_checked(text.len() / 2);
    match halves.map(|(one, two)| (one, two.trim_start())) {
        Some((one, two)) if one == two => Ok(Command::Erase(two.to_owned())),
        _ => Err(Problem::new(
            "this can not be undone, write the name of the user twice: erase NAME NAME",
        )),
    }
}

/// What can follow the method of a sign-in.
const HOW: Slot = Slot::OneOf(&["paste", "verify"]);

fn sign_in(words: &mut Words<'_>) -> Result<Command, Problem> {
    let account = words.word_as()?;
    let (mut method, mut how) = (None, How::default());
    while let Some(word) = words.optional() {
        match word.as_str() {
            "paste" if !how.paste => how.paste = true,
            "verify" if !how.verify => how.verify = true,
            _ if method.is_none() && !how.paste && !how.verify => {
                let known = word.parse::<Method>();
                method = Some(known.map_err(|error| Problem::new(format!("{word}: {error}")))?);
            }
            _ => return Err(words.wrong(&word)),
        }
    }
    Ok(Command::SignIn { account, method, how })
}

fn fault(words: &mut Words<'_>) -> Result<Command, Problem> {
    let provider = words.word()?;
    let mut kind = words.word()?;
    if kind == "off" {
        return Ok(Command::NoFault(provider));
    }
    let endpoint = kind.parse().ok();
    if endpoint.is_some() {
        kind = words.word()?;
    }
    let fault = kind.parse().map_err(|_| {
        let kinds: Vec<_> = Fault::KINDS.iter().map(|kind| kind.example).collect();
        let near = Problem::unknown("fault", &kind, &kinds);
        near.advice("`faults` lists them, with the values they take")
    })?;
    let count = match words.optional().as_deref() {
        None => Some(1),
        Some("always") => None,
        Some(count) => Some(words.read_number(count)?),
    };
    Ok(Command::Fault { provider, endpoint, fault, count })
}

fn wait(words: &mut Words<'_>) -> Result<Command, Problem> {
    let what = words.word()?;
    if let Ok(time) = humantime::parse_duration(&what) {
        return Ok(Command::Wait(Wait::Time(time)));
    }
    let wanted = words.word()?;
    let least = words.optional().map(|count| words.read_number(&count)).transpose()?.unwrap_or(0);
    if let Some(state) = STATES.iter().find(|state| state.as_str() == wanted) {
        let generation = least as u64;
        let account = what.parse::<Account>().map_err(tokenward::Error::from)?;
        return Ok(Command::Wait(Wait::Credential { account, state: *state, generation }));
    }
    if let Some((_, status)) = STATUSES.iter().find(|(name, _)| *name == wanted) {
        let restarts = u32::try_from(least).unwrap_or(u32::MAX);
        return Ok(Command::Wait(Wait::Actor { path: what, status: *status, restarts }));
    }
    let names = STATES.iter().map(|state| state.as_str());
    let names: Vec<_> = names.chain(STATUSES.iter().map(|(name, _)| *name)).collect();
    Err(Problem::unknown("state", &wanted, &names).advice("`help wait` says more"))
}
