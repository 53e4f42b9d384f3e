//! The rules of the source tree: imports as `docs/architecture.md` allows them, no circle of imports, short files, plain
//! comments.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The most lines of a file.
const MAX_LINES: usize = 600;
/// Names that tools take for their output.
const OUTPUT_FOLDERS: [&str; 4] = ["build", "target", "dist", "out"];
/// First words of comments that do not name their subject.
const RIDDLES: [&str; 7] = ["What", "Whether", "Where", "How", "Of", "One", "Who"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, in order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// A file of `src` as its imports see it.
struct Source {
    path: String,
    module: Vec<String>,
    /// The text without comments and tests, with the same line numbers.
    code: String,
}

/// The module of a path below `src`, such as `["lake", "key"]` for `lake/key.rs` and `["lake"]` for `lake/mod.rs`.
fn module_of(path: &str) -> Vec<String> {
    let mut parts: Vec<String> = path
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// The text without comments and without test modules at its end, with the same line numbers.
fn code_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_test_block = |index: usize| {
        lines[index] == "#[cfg(test)]" && lines.get(index + 1).is_some_and(|line| is_inline_mod(line))
    };
    let end = (0..lines.len())
        .find(|index| is_test_block(*index))
        .unwrap_or(lines.len());
    let code = lines[..end].iter().map(|line| {
        if line.trim_start().starts_with("//") {
            ""
        } else {
            line
        }
    });
    code.collect::<Vec<_>>().join("\n")
}

fn is_inline_mod(line: &str) -> bool {
    line.contains("mod ") && line.ends_with('{')
}

/// The names of the modules that a file declares only for tests.
fn test_modules(text: &str) -> Vec<String> {
    let after = text.split("#[cfg(test)]").skip(1);
    after
        .filter_map(|rest| {
            let declaration = rest.split(';').next()?.rsplit('\n').next()?.trim();
            Some(declaration.strip_prefix("mod ")?.to_owned())
        })
        .collect()
}

/// The files of `src` that are part of the program, in order: no test files, and neither `main.rs` nor `lib.rs`.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut sources = Vec::new();
    let mut tests = BTreeSet::new();
    for file in rust_files(&src) {
        let path = file.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        if path == "main.rs" || path == "lib.rs" {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let module = module_of(&path);
        let parent = if path.ends_with("/mod.rs") || !path.contains('/') {
            module.clone()
        } else {
            module[..module.len() - 1].to_vec()
        };
        for name in test_modules(&text) {
            tests.insert([parent.clone(), vec![name.clone()]].concat());
            tests.insert([module.clone(), vec![name]].concat());
        }
        sources.push(Source {
            path,
            module,
            code: code_of(&text),
        });
    }
    sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    sources
}

/// Expands `a::{b, c::{d, e}}` to `a::b`, `a::c::d` and `a::c::e`.
fn expand(path: &str) -> Vec<String> {
    let path = path.trim();
    let Some((head, rest)) = path.split_once('{') else {
        let name = path.split(" as ").next().unwrap_or(path).trim();
        return vec![name.to_owned()];
    };
    let body = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in body.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&body[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(&body[start..]);
    items
        .into_iter()
        .filter(|item| !item.trim().is_empty())
        .flat_map(|item| expand(&format!("{head}{}", item.trim())))
        .collect()
}

/// The `use` paths that begin with `crate`, `super` or `self`, and all other `crate::` paths, each with its line.
fn imports(code: &str) -> Vec<(usize, String)> {
    let line_of = |at: usize| 1 + code[..at].matches('\n').count();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let is_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let statement = code[at + 4..].split(';').next().unwrap_or_default();
        let is_ours = ["crate", "super", "self"]
            .iter()
            .any(|first| statement.starts_with(&format!("{first}::")));
        if is_word && is_ours {
            let one_line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
            found.extend(expand(&one_line).into_iter().map(|path| (line_of(at), path)));
        }
    }
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at..];
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
            .unwrap_or(rest.len());
        found.push((line_of(at), rest[..end].trim_end_matches(':').to_owned()));
    }
    found
}

/// The deepest known module on a path, as seen from the module `me`.
fn resolve(me: &[String], path: &str, modules: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let mut base = me.to_vec();
    let mut parts = path.split("::").peekable();
    match parts.peek() {
        Some(&"crate") => {
            base.clear();
            parts.next();
        }
        Some(&"self") => {
            parts.next();
        }
        _ => {
            while parts.next_if_eq(&"super").is_some() {
                base.pop();
            }
        }
    }
    let mut deepest = modules.contains(&base).then(|| base.clone());
    for part in parts {
        base.push(part.to_owned());
        if modules.contains(&base) {
            deepest = Some(base.clone());
        }
    }
    deepest
}

type Graph = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// The imports between modules. A module and its ancestors and descendants are one room: what they import of each other
/// does not count.
fn graph(sources: &[Source]) -> Graph {
    let modules: BTreeSet<_> = sources.iter().map(|source| source.module.clone()).collect();
    let edges = |source: &Source| {
        imports(&source.code)
            .into_iter()
            .filter_map(|(_, path)| resolve(&source.module, &path, &modules))
            .filter(|to| !to.starts_with(&source.module) && !source.module.starts_with(to))
            .collect()
    };
    sources
        .iter()
        .map(|source| (source.module.clone(), edges(source)))
        .collect()
}

/// The groups of modules that import each other, directly or by others.
fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reach = |from: &Vec<String>| {
        let (mut seen, mut waiting) = (BTreeSet::new(), vec![from]);
        while let Some(module) = waiting.pop() {
            for next in graph.get(module).into_iter().flatten() {
                if seen.insert(next) {
                    waiting.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = graph.keys().map(|module| (module, reach(module))).collect();
    let mut circles = BTreeSet::new();
    for (module, others) in &reached {
        let is_mutual =
            |other: &&&Vec<String>| reached.get(**other).is_some_and(|back| back.contains(module));
        let circle: Vec<String> = others
            .iter()
            .filter(is_mutual)
            .map(|other| other.join("::"))
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// The import table of `docs/architecture.md`.
#[derive(Debug, Default, PartialEq)]
struct ImportTable {
    /// The folders that each folder may import, besides itself and the leaves.
    allowed: BTreeMap<String, BTreeSet<String>>,
    /// The names in the row `leaves`; `None` if there is no such row, and all other names are leaves.
    leaves: Option<BTreeSet<String>>,
}

/// The name of a folder or file in a cell: `lake` for `lake/` and `dates` for `dates.rs`.
fn bare(name: &str) -> String {
    name.trim()
        .trim_end_matches('/')
        .trim_end_matches(".rs")
        .to_owned()
}

/// The names in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(bare).collect()
}

impl ImportTable {
    /// Reads the table with the header `folder | what lives there | may import`.
    fn parse(document: &str) -> Self {
        let cells = |line: &str| -> Vec<String> {
            let line = line.trim().trim_start_matches('|').trim_end_matches('|');
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let rows = document
            .lines()
            .skip_while(|line| cells(line) != ["folder", "what lives there", "may import"])
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let mut table = Self::default();
        for row in rows.map(cells) {
            let [folder, contents, imports] = row.as_slice() else {
                panic!("the import table has a row without three cells: {row:?}");
            };
            if folder == "leaves" {
                table.leaves = Some(quoted(contents).into_iter().collect());
                continue;
            }
            let Some(name) = quoted(folder).into_iter().next() else {
                panic!("the import table names no folder in backticks: {folder}");
            };
            let above: BTreeSet<String> = table.allowed.keys().cloned().collect();
            let mut allowed = BTreeSet::new();
            for word in imports.split(',').map(|word| bare(&word.replace('`', ""))) {
                match word.as_str() {
                    "all" => allowed.extend(["*".to_owned()]),
                    "all above" => allowed.extend(above.iter().cloned()),
                    _ => allowed.extend([word]),
                }
            }
            table.allowed.insert(name, allowed);
        }
        table
    }

    fn is_leaf(&self, name: &str) -> bool {
        match &self.leaves {
            Some(leaves) => leaves.contains(name),
            None => !self.allowed.contains_key(name),
        }
    }

    fn allows(&self, from: &str, to: &str) -> bool {
        let listed = |allowed: &BTreeSet<String>| allowed.contains("*") || allowed.contains(to);
        from == to || self.is_leaf(to) || self.allowed.get(from).is_some_and(listed)
    }

    /// The imports that the table does not allow, each with file and line.
    fn offences(&self, sources: &[Source]) -> Vec<String> {
        let names: BTreeSet<&str> = sources.iter().map(|source| source.module[0].as_str()).collect();
        let mut offences = BTreeSet::new();
        for source in sources {
            let from = &source.module[0];
            if !self.is_leaf(from) && !self.allowed.contains_key(from) {
                offences.insert((
                    source.path.clone(),
                    1,
                    format!("`{from}` is in no row of the import table"),
                ));
            }
            for (line, path) in imports(&source.code) {
                let to = path
                    .strip_prefix("crate::")
                    .and_then(|path| path.split("::").next());
                if let Some(to) = to.filter(|to| names.contains(to) && !self.allows(from, to)) {
                    let offence = format!("`{from}` may not import `{to}`");
                    offences.insert((source.path.clone(), line, offence));
                }
            }
        }
        let show = |(path, line, offence): &(String, usize, String)| format!("src/{path}:{line}: {offence}");
        offences.iter().map(show).collect()
    }
}

#[test]
fn imports_are_those_that_the_architecture_allows() {
    let document = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let table = ImportTable::parse(&document);
    assert!(
        table.allowed.len() > 5,
        "docs/architecture.md has no table `folder | what lives there | may import`"
    );
    let offences = table.offences(&sources());
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = circles(&graph(&sources()));
    let shown: Vec<_> = circles.iter().map(|circle| circle.join(", ")).collect();
    assert!(shown.is_empty(), "circles of imports:\n{}", shown.join("\n"));
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let mut long = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for file in rust_files(&root().join(folder)) {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            if lines > MAX_LINES {
                let path = file.strip_prefix(root()).unwrap();
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn no_folder_has_the_name_of_build_output() {
    let named_like_output: Vec<_> = rust_files(&root().join("src"))
        .into_iter()
        .filter(|file| {
            let below = file.strip_prefix(root()).unwrap().parent().unwrap();
            below
                .iter()
                .any(|part| OUTPUT_FOLDERS.contains(&part.to_str().unwrap()))
        })
        .collect();
    assert!(named_like_output.is_empty(), "{named_like_output:?}");
}

/// The first lines of comment blocks, without their slashes.
fn comment_starts(text: &str) -> Vec<(usize, &str)> {
    let mut starts = Vec::new();
    let mut was_comment = false;
    for (index, line) in text.lines().enumerate() {
        let comment = line.trim_start().strip_prefix("//");
        if let Some(comment) = comment.filter(|_| !was_comment) {
            starts.push((index + 1, comment.trim_start_matches(['/', '!']).trim_start()));
        }
        was_comment = comment.is_some();
    }
    starts
}

fn is_riddle(comment: &str) -> bool {
    let first = comment.split(|c: char| !c.is_alphanumeric()).next();
    first.is_some_and(|first| RIDDLES.contains(&first))
}

#[test]
fn comments_name_their_subject_first() {
    let src = root().join("src");
    let (mut blocks, mut riddles) = (0, Vec::new());
    for source in sources() {
        let text = std::fs::read_to_string(src.join(&source.path)).unwrap();
        let end = source.code.lines().count();
        for (line, start) in comment_starts(&text).into_iter().filter(|(line, _)| *line <= end) {
            blocks += 1;
            if is_riddle(start) {
                riddles.push(format!("src/{}:{line}: {start}", source.path));
            }
        }
    }
    assert!(
        riddles.len() * 100 < blocks * 2,
        "{} of {blocks} comments begin with one of {RIDDLES:?}:\n{}",
        riddles.len(),
        riddles.join("\n")
    );
}

mod tests {
    use super::*;

    fn source(path: &str, code: &str) -> Source {
        Source {
            path: path.to_owned(),
            module: module_of(path),
            code: code_of(code),
        }
    }

    #[test]
    fn nested_imports_are_expanded_and_have_a_line() {
        let code = "use std::fmt;\nuse crate::{\n    lake::{self, key},\n    Error as E,\n};\nfn f() { crate::store::open() }";
        let paths: Vec<_> = imports(code)
            .into_iter()
            .map(|(line, path)| format!("{line} {path}"))
            .collect();
        assert_eq!(
            paths,
            [
                "2 crate::lake::self",
                "2 crate::lake::key",
                "2 crate::Error",
                "2 crate",
                "6 crate::store::open"
            ]
        );
        assert_eq!(expand("a::{b::{c, d}, e}"), ["a::b::c", "a::b::d", "a::e"]);
    }

    #[test]
    fn comments_and_test_modules_are_no_code() {
        let text = "//! crate::a\nuse crate::b;\n#[cfg(test)]\nmod tests;\nuse crate::c;\n\n#[cfg(test)]\nmod tests {\n    use crate::d;\n}";
        let paths: BTreeSet<_> = imports(&code_of(text))
            .into_iter()
            .map(|(_, path)| path)
            .collect();
        assert_eq!(paths, ["crate::b", "crate::c"].map(str::to_owned).into());
        assert_eq!(test_modules(text), ["tests"]);
    }

    #[test]
    fn a_circle_is_found_and_a_family_is_one_room() {
        let files = [
            source("a.rs", "use crate::b::X;"),
            source("b/mod.rs", "use self::inner::Y;"),
            source("b/inner.rs", "use super::X; use crate::c::Z;"),
            source("c.rs", "use crate::a::W;"),
        ];
        assert!(
            circles(&graph(&files)).is_empty(),
            "b/mod.rs and b/inner.rs are one room"
        );
        let closed = source("b/mod.rs", "use crate::c::Z;");
        let [a, _, inner, c] = files;
        assert_eq!(
            circles(&graph(&[a, closed, inner, c])),
            [["a", "b", "c"].map(str::to_owned).to_vec()]
        );
    }

    #[test]
    fn the_table_is_read_and_offences_have_file_and_line() {
        let document = "text\n| folder | what lives there | may import |\n|---|---|---|\n\
            | `lake/` | keys | leaves |\n| `tables/` (before `build/`) | rows | `lake/` |\n\
            | `dates.rs` | a rule | lake |\n| `cli/` | commands | all above |\n| leaves | `error.rs`, `config/` (keys) | other leaves |\n\nend";
        let table = ImportTable::parse(document);
        assert_eq!(table.allowed.len(), 4);
        assert!(
            table.allows("lake", "error") && table.allows("tables", "lake") && table.allows("cli", "dates")
        );
        assert!(!table.allows("lake", "tables") && !table.allows("error", "lake"));
        let files = [
            source("lake/key.rs", "\nuse crate::tables::X;\nuse crate::Error;"),
            source("tables/mod.rs", "use crate::lake::key;"),
            source("odd.rs", ""),
        ];
        assert_eq!(
            table.offences(&files),
            [
                "src/lake/key.rs:2: `lake` may not import `tables`",
                "src/odd.rs:1: `odd` is in no row of the import table"
            ]
        );
    }

    #[test]
    fn a_riddle_is_the_first_word_of_a_block() {
        let text = "/// Where it is.\n/// What it is.\nfn a() {}\n// A place.\n//! Offset of a thing.";
        let starts = comment_starts(text);
        let riddles: Vec<_> = starts.iter().map(|(_, start)| is_riddle(start)).collect();
        assert_eq!(riddles, [true, false]);
        assert!(!is_riddle("Offset of a thing.") && is_riddle("Of the store."));
    }
}
