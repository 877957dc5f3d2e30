//! `docs/oauth-conformance.md`, `docs/server-conformance.md` and `docs/http-conformance.md` against the
//! source: each has all of its rows, each row has tests, all of them are there, and one of them at least
//! names the row.

use std::path::Path;

/// The rows that the document about calls has to have, in this order.
const CALL_ROWS: [&str; 20] = [
    "H1", "H2", "H3", "H4", "B-1", "B-2", "B-3", "B-4", "B-5", "B-6", "B-7", "B-8", "B-9", "T-1",
    "T-2", "T-3", "T-4", "T-5", "T-6", "T-7",
];

/// The rows that the document about OAuth has to have, in this order.
const ROWS: [&str; 54] = [
    "C-PKCE-1",
    "C-ST-1",
    "C-ISS-1",
    "C-CB-1",
    "C-LB-1",
    "C-LB-2",
    "C-LB-3",
    "C-TOK-1",
    "C-TOK-2",
    "C-TOK-3",
    "C-TOK-4",
    "C-TOK-5",
    "C-TOK-6",
    "C-RESP-1",
    "C-RESP-2",
    "C-RESP-3",
    "C-RESP-4",
    "C-RESP-5",
    "C-EXP-1",
    "C-EXP-2",
    "C-ERR-1 terminal",
    "C-ERR-1 config",
    "C-ERR-1 transient",
    "C-ERR-1 device",
    "C-ERR-1 denied",
    "C-ERR-1 anything else",
    "C-RT-1",
    "C-RT-2",
    "C-RT-3",
    "C-RT-4",
    "C-RT-5",
    "C-RT-6",
    "C-RT-7",
    "C-RT-8",
    "C-CC-1",
    "C-ID-1",
    "C-DEV-1",
    "C-DEV-2",
    "C-DEV-3",
    "C-DEV-4",
    "C-META-1",
    "C-SEC-1",
    "BODY-1",
    "BODY-2",
    "BODY-3",
    "BODY-4",
    "BODY-5",
    "BODY-6",
    "BODY-7",
    "BODY-8",
    "BODY-9",
    "BODY-10",
    "BODY-11",
    "BODY-12",
];

/// The rows of the authorization server, in this order.
const SERVER_ROWS: [&str; 96] = [
    "S-METH-1",
    "S-REQ-1",
    "S-REQ-2",
    "S-REQ-3",
    "S-REQ-4",
    "S-REQ-7",
    "S-CT-1",
    "S-LIM-1",
    "S-AUTH-1",
    "S-AUTH-2",
    "S-AUTH-3",
    "S-AUTH-4",
    "S-AUTH-5",
    "S-AUTH-7",
    "S-AUTH-8",
    "S-AUTH-9",
    "S-AUTH-10",
    "S-AUTH-11",
    "S-AUTH-12",
    "S-ERR-1",
    "S-ERR-2",
    "S-ERR-3",
    "S-ERR-4",
    "S-SCOPE-1",
    "S-CC-1",
    "S-HDR-1",
    "S-HDR-2",
    "S-HDR-3",
    "S-RT-2",
    "S-RT-3",
    "S-RT-4",
    "S-RT-5",
    "S-RT-6",
    "S-RT-7",
    "S-RT-8",
    "S-RT-9",
    "S-RT-10",
    "S-RT-14",
    "S-RT-15",
    "S-RT-16",
    "S-RT-17",
    "S-RT-18",
    "S-RT-19",
    "S-RT-20",
    "S-RT-21",
    "S-JWT-1",
    "S-JWT-2",
    "S-JWT-5",
    "S-JWKS-1",
    "S-JWKS-2",
    "S-META-1",
    "S-META-2",
    "S-META-3",
    "S-META-4",
    "S-META-5",
    "S-REV-1",
    "S-REV-2",
    "S-REV-4",
    "S-REV-5",
    "S-REV-8",
    "S-REV-9",
    "S-REV-11",
    "S-INT-1",
    "S-INT-2",
    "S-INT-3",
    "S-INT-4",
    "S-INT-9",
    "S-INT-10",
    "S-RS-1",
    "S-RS-4",
    "S-RS-5",
    "S-RS-10",
    "S-RS-11",
    "S-RS-13",
    "S-RS-14",
    "S-RS-16",
    "S-RS-17",
    "S-RS-19",
    "S-RS-21",
    "S-RS-24",
    "S-RS-25",
    "S-RS-26",
    "S-VAL-1",
    "S-VAL-2",
    "S-VAL-3",
    "S-VAL-4",
    "S-VAL-5",
    "S-VAL-6",
    "S-VAL-7",
    "S-VAL-8",
    "S-VAL-9",
    "S-VAL-10",
    "S-VAL-11",
    "S-VAL-12",
    "S-VAL-13",
    "S-VAL-14",
];

/// A row of a table of the document.
struct Row<'a> {
    id: &'a str,
    /// Paths of files, each with the name of a test in it.
    tests: Vec<(&'a str, &'a str)>,
}

#[test]
fn every_row_is_kept_to_by_tests_that_are_there_and_name_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let documents: [(&str, &[&str]); 3] = [
        ("docs/oauth-conformance.md", &ROWS),
        ("docs/server-conformance.md", &SERVER_ROWS),
        ("docs/http-conformance.md", &CALL_ROWS),
    ];
    for (document, rows) in documents {
        assert_eq!(problems(&read(document), rows, read), Vec::<String>::new(), "{document}");
    }
}

#[test]
fn a_document_that_has_rotted_is_found_out() {
    let source = |path: &str| match path {
        "a.rs" => "/// C-A-1 and C-A-3: all is well.\n#[test]\nfn good() {}\n\nfn helper() {}\n",
        "b.rs" => "#[tokio::test]\nasync fn c_a_2_by_its_name() {}\n",
        _ => "",
    };
    let source = |path: &str| source(path).to_owned();
    let table = |lines: &[&str]| format!("| row | tests |\n| --- | --- |\n{}\n", lines.join("\n"));
    let good =
        table(&["| C-A-1 | x | `a.rs::good` |", "| C-A-2 | x | `b.rs::c_a_2_by_its_name` |"]);
    assert_eq!(problems(&good, &["C-A-1", "C-A-2"], source), Vec::<String>::new());

    for (line, problem) in [
        ("| C-A-1 | x | none |", "C-A-1 has no test"),
        ("| C-A-1 | x | `a.rs::gone` |", "C-A-1: there is no test gone in a.rs"),
        ("| C-A-1 | x | `a.rs::goo` |", "C-A-1: there is no test goo in a.rs"),
        ("| C-A-1 | x | `a.rs::helper` |", "C-A-1: there is no test helper in a.rs"),
        ("| C-A-1 | x | `gone.rs::good` |", "C-A-1: there is no test good in gone.rs"),
        ("| C-A-1 | x | `b.rs::c_a_2_by_its_name` |", "C-A-1 is named by none of its tests"),
    ] {
        assert!(
            problems(&table(&[line]), &["C-A-1"], source).contains(&problem.to_owned()),
            "{line}"
        );
    }
    assert_eq!(problems("", &["C-A-1"], source), ["the rows are [], and not [\"C-A-1\"]"]);
}

/// Everything that is wrong with `document`.
fn problems(document: &str, rows: &[&str], read: impl Fn(&str) -> String) -> Vec<String> {
    let found: Vec<Row<'_>> = document.lines().filter_map(row).collect();
    let mut problems = Vec::new();
    let ids: Vec<_> = found.iter().map(|row| row.id).collect();
    if ids != rows {
        problems.push(format!("the rows are {ids:?}, and not {rows:?}"));
    }
    for Row { id, tests } in found {
        if tests.is_empty() {
            problems.push(format!("{id} has no test"));
        }
        let mut named = false;
        for (path, name) in tests {
            match heading(&read(path), name) {
                Some(heading) => named |= names(&heading, name, id),
                None => problems.push(format!("{id}: there is no test {name} in {path}")),
            }
        }
        if !named {
            problems.push(format!("{id} is named by none of its tests"));
        }
    }
    problems
}

/// A line of a table whose first cell is the name of a row.
fn row(line: &str) -> Option<Row<'_>> {
    let id = line.strip_prefix("| ")?.split(" |").next()?;
    let prefixes = ["C-", "S-", "BODY-", "B-", "T-", "H1", "H2", "H3", "H4"];
    let is_row = prefixes.iter().any(|prefix| id.starts_with(prefix));
    let tests = line.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::"));
    // What stands in quotes elsewhere is no path of a file.
    let tests = tests.filter(|(path, _)| path.contains('.')).collect();
    is_row.then_some(Row { id, tests })
}

/// What stands above the test `name` in `source`: its documentation and its attributes. None: there
/// is no such test.
fn heading(source: &str, name: &str) -> Option<String> {
    let lines: Vec<_> = source.lines().map(str::trim).collect();
    let function = format!("fn {name}(");
    let at = lines
        .iter()
        .position(|line| line.strip_prefix("async ").unwrap_or(line).starts_with(&function))?;
    let above = lines[..at].iter().rev();
    let above: Vec<_> = above
        .take_while(|line| line.starts_with("///") || line.starts_with("#["))
        .copied()
        .collect();
    let is_test =
        above.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    is_test.then(|| above.join("\n"))
}

/// Whether a test names a row, in its documentation or its own name.
fn names(heading: &str, name: &str, id: &str) -> bool {
    // The rows of the error table are told apart by a word.
    let id = id.split(' ').next().unwrap_or(id);
    let in_name = id.to_lowercase().replace('-', "_");
    let whole = |text: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == id)
    };
    // A test may be for several rows.
    whole(heading) || format!("_{name}").contains(&format!("_{in_name}_"))
}
