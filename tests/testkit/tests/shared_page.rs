//! The book's table of shared crates is what the manifests say.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates, and which others of the house each uses.
type Uses = BTreeMap<String, Vec<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// From the manifests under `shared/`: the sections of what a crate is built from.
fn manifests() -> Uses {
    let mut uses = Uses::new();
    let folders: Vec<_> = fs::read_dir(root().join("shared")).unwrap().collect();
    let names = folders.iter().map(|f| f.as_ref().unwrap().file_name());
    let names: Vec<String> = names.map(|n| n.to_string_lossy().into_owned()).collect();
    for name in &names {
        let file = root().join("shared").join(name).join("Cargo.toml");
        let text = fs::read_to_string(file).unwrap();
        let mut built = false;
        let mut own = vec![];
        for line in text.lines() {
            if line.starts_with('[') {
                built = line == "[dependencies]";
            }
            let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if built && names.iter().any(|name| name == key) {
                own.push(key.to_string());
            }
        }
        own.sort();
        uses.insert(name.clone(), own);
    }
    uses
}

/// From the rows `| [`name`](name.md) | … | `a`, `b` |`.
fn table(page: &str) -> Uses {
    let quoted = |cell: &str| -> Vec<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_string).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with("| [`"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').collect();
        (quoted(cells[1])[0].clone(), quoted(cells[3]))
    };
    rows.map(row).collect()
}

#[test]
fn the_table_of_shared_crates_is_what_the_manifests_say() {
    let folder = root().join("book/src/shared");
    let page = fs::read_to_string(folder.join("index.md")).unwrap();
    assert_eq!(table(&page), manifests(), "book/src/shared/index.md");
    for name in table(&page).keys() {
        let file = folder.join(format!("{name}.md"));
        assert!(file.exists(), "{} is missing", file.display());
    }
}
