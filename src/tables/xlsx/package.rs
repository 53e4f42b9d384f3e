//! The relations between a workbook's parts: its sheets by name, its calendar, and their paths. Pure.

use super::archive::Archive;
use super::refusal::Refusal;
use super::xml_part::attribute;

/// The part that names the workbook's part.
const ROOT: &str = "_rels/.rels";
/// The path of the workbook's part if nothing names it.
const WORKBOOK: &str = "xl/workbook.xml";
/// Most worksheets of a workbook.
const MOST_SHEETS: usize = 256;
/// Most bytes of a sheet's name; Excel's own limit is 31 characters.
const MOST_NAME: usize = 1024;

/// The parts of a workbook.
#[derive(Debug, Default)]
pub(super) struct Package {
    /// The worksheets in the workbook's order. Those of charts, dialogs and macros are left out, because they have no
    /// rows.
    pub sheets: Vec<SheetPart>,
    /// True if serial days count from 1904 instead of 1900.
    pub from_1904: bool,
    /// The part of the shared strings.
    pub strings: String,
    /// The part of the number formats.
    pub styles: String,
}

/// A worksheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SheetPart {
    /// Its name.
    pub name: String,
    /// The part that holds its rows.
    pub path: String,
    /// Its number among the worksheets, because names need not differ.
    pub number: usize,
}

/// A relation of a part to another one.
#[derive(Debug, Default)]
struct Relation {
    id: String,
    /// The last word of its type; the words before it differ between the editions of the standard.
    kind: String,
    path: String,
}

impl Package {
    /// Reads the relations of an archive's parts.
    pub fn read(archive: &mut Archive<'_>) -> Result<Self, Refusal> {
        let root = relations(archive, ROOT, "")?.unwrap_or_default();
        let named = root
            .into_iter()
            .find(|relation| relation.kind == "officeDocument");
        let path = named.map_or_else(|| WORKBOOK.to_owned(), |relation| relation.path);
        if path.ends_with(".bin") {
            return Err(Refusal::Xlsb);
        }
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", &path));
        let links = format!("{folder}/_rels/{file}.rels");
        let relations = relations(archive, &links, folder)?.unwrap_or_default();
        let of_kind = |kind: &str, file: &str| {
            let found = relations.iter().find(|relation| relation.kind == kind);
            found.map_or_else(|| format!("{folder}/{file}"), |relation| relation.path.clone())
        };
        let mut package = Self {
            strings: of_kind("sharedStrings", "sharedStrings.xml"),
            styles: of_kind("styles", "styles.xml"),
            ..Self::default()
        };
        package.read_workbook(archive, &path, &relations)?;
        Ok(package)
    }

    fn read_workbook(
        &mut self,
        archive: &mut Archive<'_>,
        path: &str,
        relations: &[Relation],
    ) -> Result<(), Refusal> {
        let (mut is_workbook, mut sheets) = (false, 0);
        let mut part = archive.part(path)?.ok_or(Refusal::NotAWorkbook)?;
        part.each(&mut |name, element| {
            match name {
                "workbook" => is_workbook = true,
                "workbookPr" => {
                    // An extension of the same name has no such attribute.
                    if let Some(flag) = attribute(element, "date1904") {
                        self.from_1904 = matches!(&*flag, "1" | "true" | "on");
                    }
                }
                "sheet" => {
                    sheets += 1;
                    let name = attribute(element, "name").unwrap_or_default();
                    if sheets > MOST_SHEETS || name.len() > MOST_NAME {
                        return Err(Refusal::TooMuch);
                    }
                    let id = attribute(element, "id").unwrap_or_default();
                    self.add_sheet(&name, id.trim(), relations);
                }
                _ => {}
            }
            Ok(())
        })?;
        match is_workbook {
            true => Ok(()),
            false => Err(Refusal::NotAWorkbook),
        }
    }

    /// Adds a sheet by its relation's id. A sheet without an id is an old module of macros, which has no part.
    fn add_sheet(&mut self, name: &str, id: &str, relations: &[Relation]) {
        let relation = relations.iter().find(|relation| relation.id == id);
        if id.is_empty() || relation.is_some_and(|relation| relation.kind != "worksheet") {
            return;
        }
        self.sheets.push(SheetPart {
            name: name.to_owned(),
            // Nothing can be read from a part without a name.
            path: relation.map_or_else(String::new, |relation| relation.path.clone()),
            number: self.sheets.len(),
        });
    }
}

/// The relations that a part names, resolved from the folder of their source; none if there is no such part.
fn relations(archive: &mut Archive<'_>, part: &str, folder: &str) -> Result<Option<Vec<Relation>>, Refusal> {
    let mut found = Vec::new();
    let Some(mut links) = archive.part(part)? else {
        return Ok(None);
    };
    links.each(&mut |name, element| {
        let text = |name| attribute(element, name).unwrap_or_default().into_owned();
        if name == "Relationship" && text("TargetMode") != "External" {
            let kind = text("Type");
            found.push(Relation {
                id: text("Id"),
                kind: kind.rsplit('/').next().unwrap_or_default().to_owned(),
                path: text("Target"),
            });
        }
        Ok(())
    })?;
    drop(links);
    for relation in &mut found {
        let path = resolve(folder, &relation.path);
        // Some programs write a path from the root without its slash.
        let from_root = resolve("", &relation.path);
        relation.path = match archive.has(&path) || !archive.has(&from_root) {
            true => path,
            false => from_root,
        };
    }
    Ok(Some(found))
}

/// The path of a target from the root of the archive.
fn resolve(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    let mut steps: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => folder.split('/').filter(|step| !step.is_empty()).collect(),
    };
    for step in target.split('/') {
        match step {
            "" | "." => {}
            ".." => {
                steps.pop();
            }
            step => steps.push(step),
        }
    }
    steps.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_from_the_folder_or_the_root() {
        for (target, path) in [
            ("worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("/xl/worksheets/sheet1.xml", "xl/worksheets/sheet1.xml"),
            ("..\\xl\\./sheet1.xml", "xl/sheet1.xml"),
            ("../../../a.xml", "a.xml"),
        ] {
            assert_eq!(resolve("xl", target), path);
        }
    }
}
