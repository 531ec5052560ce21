//! The guide says what the code says: its table of reasons, its links, its examples.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use kube_oidc::Reason;

/// The codes of a refusal that are no [`Reason`]'s: see `Rejection::reason`.
const OTHER_CODES: [&str; 4] = ["no_credentials", "invalid_request", "policy", "misconfigured"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files below a folder with this extension, by their paths from the root.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A block of code: the line that it begins at, from 0, what it says of its language, its text.
struct Block<'t> {
    line: usize,
    language: &'t str,
    text: Vec<&'t str>,
}

/// The blocks of code of a page, and its other lines: those of blocks are empty there, so that the
/// numbers of lines stay.
fn taken_apart(text: &str) -> (Vec<Block<'_>>, Vec<&str>) {
    let (mut blocks, mut prose) = (Vec::new(), Vec::new());
    let mut open: Option<Block<'_>> = None;
    for (line, found) in text.lines().enumerate() {
        let fence = found.trim_start().strip_prefix("```");
        prose.push(if fence.is_none() && open.is_none() { found } else { "" });
        match (fence, &mut open) {
            (Some(language), None) => open = Some(Block { line, language, text: Vec::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text.push(found),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    (blocks, prose)
}

/// The rules that tests are marked with, each as the name of the rule and the test. A mark is a line
/// `// rule: NAME, NAME` above the attribute of a test.
fn marks(path: &str, text: &str) -> Vec<(String, String)> {
    let file = path.strip_prefix("tests/tests/").unwrap_or(path);
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut found = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(names) = line.strip_prefix("// rule: ") else { continue };
        let below = &lines[index + 1..];
        let is_test = below
            .first()
            .is_some_and(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
        let function = below.iter().find_map(|line| {
            line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?.split('(').next()
        });
        let function = function.filter(|_| is_test).unwrap_or("no test");
        let place = format!("`{file}::{function}`");
        found.extend(names.split(", ").map(|name| (name.to_owned(), place.clone())));
    }
    found
}

/// The page of rules with the tests of the marks, and what is wrong with rules or marks.
fn rules_page(page: &str, marks: Vec<(String, String)>) -> (String, Vec<String>) {
    let mut tests = BTreeMap::<String, BTreeSet<String>>::new();
    let mut problems = Vec::new();
    for (rule, test) in marks {
        if test.ends_with("::no test`") {
            problems.push(format!("{rule}: the mark in {test} is at no test"));
        }
        tests.entry(rule).or_default().insert(test);
    }
    let mut lines = Vec::new();
    for line in page.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let rule = cells[0].strip_prefix("| `").and_then(|name| name.strip_suffix('`'));
        let Some((rule, text)) = rule.zip(cells.get(1)) else {
            lines.push(line.to_owned());
            continue;
        };
        let named = tests.remove(rule).unwrap_or_default();
        if named.is_empty() {
            problems.push(format!("{rule}: no test has this mark"));
        }
        let named = named.into_iter().collect::<Vec<_>>().join(", ");
        lines.push(format!("| `{rule}` | {text} | {named} |"));
    }
    problems
        .extend(tests.into_keys().map(|rule| format!("{rule}: docs/rules.md has no such rule")));
    (lines.join("\n") + "\n", problems)
}

/// `UPDATE_RULES=1` writes the page.
#[test]
fn rules_page_names_the_tests_that_are_marked() {
    let folders = ["crates", "examples", "fuzz", "tests"];
    let paths = folders.iter().flat_map(|folder| files(folder, "rs"));
    let marks: Vec<_> = paths.flat_map(|path| marks(&path, &read(&path))).collect();
    assert!(marks.len() > 300, "only {} marks", marks.len());
    let page = read("docs/rules.md");
    let (generated, problems) = rules_page(&page, marks);
    assert_eq!(problems, Vec::<String>::new());
    if std::env::var_os("UPDATE_RULES").is_some() {
        fs::write(root().join("docs/rules.md"), generated).unwrap();
    } else {
        assert!(
            generated == page,
            "docs/rules.md is out of date; run \
             `UPDATE_RULES=1 cargo test -p kube-oidc-tests --test project rules_page`"
        );
    }
}

#[test]
fn faulty_marks_are_found() {
    let text = [
        "    // rule: one, two",
        "    #[tokio::test(flavor = \"multi_thread\")]",
        "    async fn first() {}",
        "// rule: one",
        "#[test]",
        "fn second() {}",
        "// rule: three",
        "fn no_test() {}",
    ];
    let marks = marks("tests/tests/group/file.rs", &text.join("\n"));
    let page = "# Rules\n| `one` | text | `gone.rs::x` |\n| `none` | text |  |\n";
    let (generated, problems) = rules_page(page, marks);
    let expected = "# Rules\n| `one` | text | `group/file.rs::first`, `group/file.rs::second` |\n| `none` | text |  |\n";
    assert_eq!(generated, expected);
    assert_eq!(
        problems,
        [
            "three: the mark in `group/file.rs::no test` is at no test",
            "none: no test has this mark",
            "three: docs/rules.md has no such rule",
            "two: docs/rules.md has no such rule",
        ]
    );
}

#[test]
fn every_dangerous_switch_is_named_where_they_are_told() {
    let page = read("SECURITY.md");
    let mut switches = BTreeSet::new();
    for path in files("crates", "rs") {
        let text = read(&path);
        let after = text.split("pub fn dangerous_").skip(1);
        switches.extend(after.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
    }
    assert!(switches.contains("report_only"), "{switches:?}");
    for switch in switches {
        assert!(
            page.contains(&format!("`dangerous_{switch}("))
                || page.contains(&format!("::dangerous_{switch}(")),
            "dangerous_{switch}"
        );
    }
}

/// What is wrong with the table of reason codes on a page.
fn problems_of_reasons(page: &str, known: &BTreeSet<&str>) -> Vec<String> {
    let section = page.split("\n## ").find(|section| section.starts_with("Reason codes\n"));
    let Some(section) = section else { return vec!["there is no section for them".to_owned()] };
    let mut rows = BTreeMap::new();
    for line in section.lines() {
        if let Some((code, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once('`')) {
            *rows.entry(code).or_insert(0) += 1;
        }
    }
    let missing = known.iter().filter(|code| !rows.contains_key(**code));
    let missing = missing.map(|code| format!("{code} has no row"));
    let unknown = rows.keys().filter(|code| !known.contains(**code));
    let unknown = unknown.map(|code| format!("{code} is no code"));
    let twice = rows.iter().filter(|(_, count)| **count > 1);
    let twice = twice.map(|(code, _)| format!("{code} has several rows"));
    missing.chain(unknown).chain(twice).collect()
}

fn known_codes() -> BTreeSet<&'static str> {
    Reason::ALL.iter().map(|reason| reason.code()).chain(OTHER_CODES).collect()
}

#[test]
fn every_reason_has_one_row() {
    let page = read("docs/troubleshooting.md");
    assert_eq!(problems_of_reasons(&page, &known_codes()), [""; 0]);
}

#[test]
fn a_table_of_reasons_can_be_wrong() {
    let page = read("docs/troubleshooting.md");
    let problems = |page: &str| problems_of_reasons(page, &known_codes());
    assert_eq!(problems(&page.replace("| `expired` |", "| expired |")), ["expired has no row"]);
    let odd = page.replace("| `expired` |", "| `expirred` |");
    assert_eq!(problems(&odd), ["expired has no row", "expirred is no code"]);
    let twice = page.replace("| `expired` |", "| `expired` |\n| `expired` |");
    assert_eq!(problems(&twice), ["expired has several rows"]);
    assert_eq!(problems("# Nothing\n"), ["there is no section for them"]);
}

/// The name that a heading has in links, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let (_, prose) = taken_apart(text);
    let headings = prose.iter().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#').trim())).collect()
}

/// Where the links of a page lead: `[text](target)`, and `[name]: target` at the start of a line.
/// What stands in backticks is none.
fn links(text: &str) -> Vec<String> {
    let (_, prose) = taken_apart(text);
    // a span of code may begin on one line and end on the next
    let prose = prose.join("\n");
    let mut shown = String::new();
    for (index, part) in prose.split('`').enumerate() {
        shown.push_str(if index % 2 == 0 { part } else { "x" });
    }
    let inline = shown.match_indices("](").filter_map(|(at, _)| {
        let rest = &shown[at + 2..];
        rest.split_once(')').map(|(target, _)| target.to_owned())
    });
    let defined = shown.lines().filter_map(|line| {
        let (name, target) = line.strip_prefix('[')?.split_once("]: ")?;
        (!name.contains(']')).then(|| target.trim().to_owned())
    });
    inline.chain(defined).collect()
}

/// What is wrong with the links of a page, which is at this path.
fn problems_of_links(path: &str, text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for link in links(text) {
        if link.starts_with("https://") || link.starts_with("http://") {
            continue;
        }
        let (file, wanted) = link.split_once('#').unwrap_or((&link, ""));
        let folder = Path::new(path).parent().unwrap();
        let target = if file.is_empty() { PathBuf::from(path) } else { folder.join(file) };
        let target = without_dots(&target);
        if !root().join(&target).exists() {
            problems.push(format!("{path} links to {link}: there is no {target}"));
        } else if !wanted.is_empty() {
            let anchors = if file.is_empty() { anchors(text) } else { anchors(&read(&target)) };
            if !anchors.contains(wanted) {
                problems.push(format!("{path} links to {link}: no heading is called so"));
            }
        }
    }
    problems
}

/// `docs/providers/../audience.md` is `docs/audience.md`.
fn without_dots(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str().unwrap().split('/') {
        match part {
            "." | "" => {}
            ".." => assert!(parts.pop().is_some(), "{} is outside", path.display()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn links_lead_somewhere() {
    let pages = files("", "md");
    assert!(pages.iter().any(|page| page == "README.md"), "{pages:?}");
    let problems: Vec<_> =
        pages.iter().flat_map(|page| problems_of_links(page, &read(page))).collect();
    assert_eq!(problems, [""; 0]);
}

#[test]
fn a_link_can_be_wrong() {
    let wrong = |text: &str| problems_of_links("docs/README.md", text).len();
    for good in [
        "[a](audience.md)",
        "[a](audience.md#in-the-caller)",
        "[a](../README.md#try-it)",
        "# A b\n[a](#a-b)",
        "[a](providers/../audience.md)",
        "[a](https://issuer.example/no-such-page)",
        "`[a](nowhere.md)`",
        "```text\n[a](nowhere.md)\n```",
        "[a]: audience.md",
    ] {
        assert_eq!(wrong(good), 0, "{good}");
    }
    for bad in [
        "[a](nowhere.md)",
        "[a](audience.md#nowhere)",
        "[a](#nowhere)",
        "[a]: nowhere.md",
        "[`a`](nowhere.md)",
        "`x` [a](nowhere.md) `y`",
        "```text\n# A b\n```\n[a](#a-b)",
    ] {
        assert_eq!(wrong(bad), 1, "{bad}");
    }
}

fn is_rust(block: &Block<'_>) -> bool {
    block.language.split(',').next() == Some("rust")
}

/// Which of these pages have an example in Rust and are not in the list of what is compiled.
fn not_compiled(pages: &[(String, String)], list: &str) -> Vec<String> {
    let has_rust = |text: &str| taken_apart(text).0.iter().any(is_rust);
    let is_listed = |page: &str| list.contains(&format!("include_str!(\"../../{page}\")"));
    let missing = pages.iter().filter(|(page, text)| has_rust(text) && !is_listed(page));
    missing.map(|(page, _)| page.clone()).collect()
}

#[test]
fn every_example_is_compiled() {
    let pages: Vec<_> =
        files("docs", "md").into_iter().map(|page| (page.clone(), read(&page))).collect();
    let list = read("tests/src/guide.rs");
    assert_eq!(not_compiled(&pages, &list), [""; 0]);
    // and a list without one of them is noticed
    let shorter = list.replace("docs/audience.md", "docs/another.md");
    assert_eq!(not_compiled(&pages, &shorter), ["docs/audience.md"]);
}

/// An example that is not compiled says why in its first line.
#[test]
fn an_ignored_example_says_why() {
    for page in files("docs", "md") {
        let text = read(&page);
        for block in taken_apart(&text).0.iter().filter(|block| is_rust(block)) {
            let ignored = block.language.contains("ignore");
            let says_why = block.text[0].starts_with("// ignored: ");
            assert_eq!(ignored, says_why, "{page}, line {}", block.line + 1);
        }
    }
}

/// What a command needs beside this repository, and how its block is marked.
const NEEDS: [(&str, &[&str]); 3] = [
    ("needs a cloud account", &["aws ", "az ", "gcloud ", "auth.pingone."]),
    ("needs a cluster", &["kubectl ", "oc ", "--in-cluster"]),
    ("needs docker", &["docker "]),
];

/// Which blocks of commands need more than they say, right before them.
fn unmarked(path: &str, text: &str) -> Vec<String> {
    let (blocks, prose) = taken_apart(text);
    let mut problems = Vec::new();
    for block in blocks.iter().filter(|block| block.language == "console") {
        let before = prose[..block.line].iter().rev().find(|line| !line.is_empty());
        let before = before.map(|line| line.to_lowercase()).unwrap_or_default();
        // a note of two needs says the second as a part of one sentence
        let before = before.replace(" and a cluster", " and needs a cluster");
        for (mark, programs) in NEEDS {
            let uses = |program: &&str| {
                let words = |line: &&str| {
                    let at_start = line.strip_prefix("$ ").is_some_and(|l| l.starts_with(program));
                    at_start
                        || line.contains(&format!("$({program}"))
                        || (!program.ends_with(' ') && line.contains(program))
                };
                block.text.iter().any(words)
            };
            if programs.iter().any(uses) && !before.contains(mark) {
                problems.push(format!("{path}, line {}: {mark}", block.line + 1));
            }
        }
    }
    problems
}

#[test]
fn commands_say_what_they_need() {
    let pages = files("", "md");
    assert!(pages.iter().any(|page| page == "README.md"), "{pages:?}");
    let problems: Vec<_> = pages.iter().flat_map(|page| unmarked(page, &read(page))).collect();
    assert_eq!(problems, [""; 0]);
}

#[test]
fn a_command_can_be_unmarked() {
    let block = "```console\n$ TOKEN=$(kubectl create token checkout)\n```\n";
    assert_eq!(unmarked("a.md", block), ["a.md, line 1: needs a cluster"]);
    let marked = format!("In another terminal, needs a cluster:\n\n{block}");
    assert_eq!(unmarked("a.md", &marked), [""; 0]);
    let other = format!("needs docker:\n\n{block}");
    assert_eq!(unmarked("a.md", &other).len(), 1);
}

/// The manifests that the kustomization takes, and the optional one, are all there are.
#[test]
fn every_manifest_is_used() {
    let kustomization = read("examples/kubernetes/kustomization.yaml");
    let readme = read("examples/kubernetes/README.md");
    for file in files("examples/kubernetes", "yaml") {
        let name = Path::new(&file).file_name().unwrap().to_str().unwrap().to_owned();
        assert!(readme.contains(&format!("]({name})")), "the README does not name {name}");
        let is_optional = ["kustomization.yaml", "rbac-token-review.yaml"].contains(&&*name);
        let is_taken = kustomization.contains(&format!("- {name}\n"));
        assert_eq!(is_taken, !is_optional, "{name}");
    }
}
