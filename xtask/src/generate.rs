//! Begins an image format or a file system: the file, and the lines that make it known.

use std::fs;

use crate::Failure;
use crate::steps::root;

/// A file of the project, before it is written.
struct Edit {
    path: String,
    text: String,
}

impl Edit {
    fn read(path: &str) -> Result<Self, Failure> {
        let text = fs::read_to_string(root().join(path));
        let text = text.map_err(|error| format!("{path}: {error}"))?;
        Ok(Self { path: path.to_owned(), text })
    }

    /// Puts `line` before the first line that begins with `anchor`.
    fn before(mut self, anchor: &str, line: &str) -> Result<Self, Failure> {
        let at = self.text.find(&format!("\n{anchor}"));
        let at = at.ok_or_else(|| format!("{}: has no line `{anchor}`", self.path))?;
        self.text.insert_str(at.saturating_add(1), line);
        Ok(self)
    }

    /// Adds `word` to the list that follows `anchor` and ends with `]`.
    fn append(mut self, anchor: &str, word: &str) -> Result<Self, Failure> {
        let end = self.text.find(anchor).and_then(|at| {
            let rest = self.text.get(at..)?;
            Some(at.saturating_add(rest.find(']')?))
        });
        let end = end.ok_or_else(|| format!("{}: has no list `{anchor}`", self.path))?;
        self.text.insert_str(end, &format!(", \"{word}\""));
        Ok(self)
    }
}

/// The words of a new thing called `name`.
struct Names {
    name: String,
    kind: String,
    signature: String,
}

impl Names {
    fn new(name: &str) -> Result<Self, Failure> {
        let mut letters = name.chars();
        let first = letters.next().filter(char::is_ascii_lowercase);
        let good =
            letters.clone().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit());
        let Some(first) = first.filter(|_| good && name.len() <= 8) else {
            return Err(format!("{name}: a name has 1 to 8 lower-case letters and digits"));
        };
        let kind = format!("{}{}", first.to_ascii_uppercase(), letters.as_str());
        let signature = format!("{:8}", name.to_ascii_uppercase());
        Ok(Self { name: name.to_owned(), kind, signature })
    }

    fn fill(&self, template: &str) -> String {
        template
            .replace("@NAME@", &self.name)
            .replace("@TYPE@", &self.kind)
            .replace("@TITLE@", &self.name.to_ascii_uppercase())
            .replace("@SIGNATURE@", &self.signature)
    }
}

/// The files of a new image format.
fn image_format_edits(names: &Names) -> Result<Vec<Edit>, Failure> {
    let Names { name, kind, .. } = names;
    let text = names.fill(include_str!("../templates/image_format.rs.in"));
    Ok(vec![
        Edit { path: format!("images/src/format/{name}.rs"), text },
        Edit::read("images/src/format/mod.rs")?
            .before("pub mod raw;", &format!("#[cfg(feature = \"{name}\")]\npub mod {name};\n"))?,
        Edit::read("images/src/registry.rs")?.before(
            "    &Raw,",
            &format!("    #[cfg(feature = \"{name}\")]\n    &crate::format::{name}::{kind},\n"),
        )?,
        Edit::read("images/Cargo.toml")?
            .before("vmdk = ", &format!("{name} = [\"dep:zerocopy\"]\n"))?
            .append("default = [", name)?,
        Edit::read("Cargo.toml")?
            .before("vmdk = ", &format!("{name} = [\"volfold-images/{name}\"]\n"))?
            .append("default = [", name)?,
    ])
}

/// The files of a new file system.
fn file_system_edits(names: &Names) -> Result<Vec<Edit>, Failure> {
    let Names { name, kind, .. } = names;
    let text = names.fill(include_str!("../templates/file_system.rs.in"));
    Ok(vec![
        Edit { path: format!("fs-backends/src/{name}.rs"), text },
        Edit::read("fs-backends/src/lib.rs")?
            .before("pub mod node;", &format!("#[cfg(feature = \"{name}\")]\npub mod {name};\n"))?,
        Edit::read("fs-backends/src/registry.rs")?.before(
            "];",
            &format!("    #[cfg(feature = \"{name}\")]\n    &crate::{name}::{kind}Driver,\n"),
        )?,
        Edit::read("fs-backends/Cargo.toml")?
            .before("fat = ", &format!("{name} = []\n"))?
            .append("default = [", name)?,
        Edit::read("Cargo.toml")?
            .before("fat = ", &format!("{name} = [\"volfold-fs/{name}\"]\n"))?
            .append("default = [", name)?,
    ])
}

/// Writes `edits`; the first is a new file.
fn write(edits: &[Edit]) -> Result<(), Failure> {
    if let Some(new) = edits.first().filter(|edit| root().join(&edit.path).exists()) {
        return Err(format!("{} is there already", new.path));
    }
    for edit in edits {
        let written = fs::write(root().join(&edit.path), &edit.text);
        written.map_err(|error| format!("{}: {error}", edit.path))?;
        println!("wrote {}", edit.path);
    }
    crate::steps::cargo(&["fmt", "--all"])
}

/// Begins the image format `name`.
pub(crate) fn image_format(name: &str) -> Result<(), Failure> {
    write(&image_format_edits(&Names::new(name)?)?)?;
    println!(
        "
It builds, and is detected. Next, as CONTRIBUTING.md tells in \"Add an image format\":
  images/recipes/lib/{name}.py             a recipe that makes images with an independent tool
  tests/fixtures/{name}-*                  its images and listings: cargo xtask fixtures '{name}-*'
  tests/fuzz/regressions/image/{name}-*    one small input; the seeds are the fixtures
  tests/golden/formats.txt                 UPDATE_GOLDEN=1 cargo test --test suite command_line
  README.md, CHANGELOG.md                  one line each"
    );
    Ok(())
}

/// Begins the file system `name`.
pub(crate) fn file_system(name: &str) -> Result<(), Failure> {
    write(&file_system_edits(&Names::new(name)?)?)?;
    println!(
        "
It builds, and is detected. Next, as CONTRIBUTING.md tells in \"Add a file system\":
  images/recipes/lib/{name}.py             a recipe that makes volumes with an independent tool
  tests/fixtures/{name}*                   its images and listings: cargo xtask fixtures '{name}*'
                                           (until then the test backends::{name}_conforms fails)
  tests/fuzz/regressions/volume/{name}-*   one small input; the seeds are the fixtures
  tests/golden/formats.txt                 UPDATE_GOLDEN=1 cargo test --test suite command_line
  README.md, CHANGELOG.md                  one line each"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_that_a_new_thing_is_written_to_is_there() {
        let names = Names::new("new1").unwrap();
        for edits in [image_format_edits(&names).unwrap(), file_system_edits(&names).unwrap()] {
            for edit in edits {
                assert!(edit.text.contains("new1") || edit.text.contains("NEW1"), "{}", edit.path);
                assert!(!edit.text.contains('@') || edit.path.ends_with(".toml"), "{}", edit.path);
            }
        }
    }

    #[test]
    fn names_that_are_no_identifiers_are_refused() {
        for name in ["", "Vdi", "9p", "a-b", "../x", "much-too-long"] {
            assert!(Names::new(name).is_err(), "{name}");
        }
    }
}
