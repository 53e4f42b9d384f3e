//! Cells of workbooks under `[privacy]`.

use super::*;
use crate::config::{ColumnTreatment, Privacy, Profile, UnknownData};
use crate::pseudonym::PseudonymKey;
use crate::tables::read_text;

const KEY: &str = "the key of these tests";

/// The cells of `report_rows` by sheet, of the usual workbook with one column more.
fn cells(privacy: &Privacy) -> Vec<Vec<String>> {
    let mapping = mapping()
        .under(privacy)
        .and_then(|mapping| mapping.with_key(KEY, ""));
    let built = build_with(&mapping.expect("a policy"), None, &usual());
    read_text(file(&built, "report_rows").bytes.clone(), &["sheet", "cells"]).expect("readable")
}

fn privacy(profile: Profile) -> Privacy {
    let mut privacy = Privacy::default();
    privacy.profile = profile;
    privacy
}

#[test]
fn a_cell_is_treated_as_the_column_that_it_feeds() {
    let found = cells(&privacy(Profile::Pseudonymous));
    let people: Vec<&String> = found
        .iter()
        .filter(|row| row[0] == "участники ")
        .map(|row| &row[1])
        .collect();
    let id = PseudonymKey::new(KEY.as_bytes()).of("17");
    assert_eq!(people.len(), 4);
    assert!(
        people[0].contains(&format!("ID пользователя: {id}")),
        "{people:?}"
    );
    for kept in ["Роль: Модератор", "ID встречи: m1", "Устройство: phone", "Вход: "]
    {
        assert!(people[0].contains(kept), "{kept}: {people:?}");
    }
    for lost in [
        "Анна",
        "a@example.org",
        "+7900",
        "Гость",
        "Никто",
        "E-mail",
        "Телефон",
    ] {
        assert!(
            !found.iter().any(|row| row[1].contains(lost)),
            "{lost}: {found:?}"
        );
    }
    assert!(found.iter().any(|row| row[1].contains("Сообщение: привет")));
    // Without a header nobody knows what a cell is.
    let headless: Vec<_> = found.iter().filter(|row| row[0] == "Прочее").collect();
    assert!(
        !headless.is_empty() && headless.iter().all(|row| row[1].is_empty()),
        "{headless:?}"
    );
}

#[test]
fn cells_without_a_column_are_left_out_if_unknown_data_is() {
    let mut dropping = privacy(Profile::None);
    dropping.unknown = UnknownData::Drop;
    let found = cells(&dropping);
    assert!(
        found
            .iter()
            .any(|row| row[1].contains("И М Я: Анна") && row[1].contains("Вход")),
        "{found:?}"
    );
    assert!(
        !found.iter().any(|row| row[1].contains("Устройство")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .filter(|row| row[0] == "Прочее")
            .all(|row| row[1].is_empty())
    );
    // A treated column alone lets other cells be.
    let mut exact = privacy(Profile::None);
    exact.columns = [("participants.email".to_owned(), ColumnTreatment::Null)].into();
    let found = cells(&exact);
    assert!(
        found
            .iter()
            .any(|row| row[1].contains("Анна") && row[1].contains("Устройство")),
        "{found:?}"
    );
    assert!(
        !found.iter().any(|row| row[1].contains("a@example.org")),
        "{found:?}"
    );
    let minimal = cells(&privacy(Profile::Minimal));
    assert!(minimal.iter().all(|row| row[1].is_empty()));
}
