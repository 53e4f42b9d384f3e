//! The page of `telelake report` in a real browser: its numbers are those of the marts.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use telelake::simulator::Simulator;

use super::{export, run, school, script};
use crate::pipeline::range;
use crate::support::browser::Browser;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// Names that an attacker would choose.
const HOSTILE: &str = "</script><script>window.hacked=1</script><img src=x onerror=\"window.hacked=2\">'\"&";

/// Writes the report of all dates of the school into a file.
async fn report(sim: &Simulator, lake: &Lake, file: &Path, more: &[&str]) -> String {
    let range = range(sim);
    let mut args: Vec<&str> = vec!["report"];
    args.extend(range.iter().map(String::as_str));
    args.extend(["--out", file.to_str().unwrap()]);
    args.extend(more);
    let said = Telelake::new(&args).lake(lake).run().await.expect(0).stdout;
    assert!(said.contains("expected visits"), "{said}");
    std::fs::read_to_string(file).unwrap()
}

/// The numbers of a table of the page, by key.
async fn table(browser: &mut Browser, section: &str) -> BTreeMap<String, Value> {
    let rows = browser
        .eval(&format!(
            "[...document.querySelectorAll('{section} tbody tr')].map(r => ({{...r.dataset}}))"
        ))
        .await;
    let rows = rows.as_array().unwrap().clone();
    let keyed = rows
        .into_iter()
        .map(|row| (row["key"].as_str().unwrap().to_owned(), row));
    keyed.collect()
}

/// The sums of a mart's columns by key.
fn sums(
    rows: &Value,
    key: &str,
    columns: &[(&str, &str)],
    is: impl Fn(&Value) -> bool,
) -> BTreeMap<String, Value> {
    let mut sums: BTreeMap<String, BTreeMap<&str, u64>> = BTreeMap::new();
    for row in rows.as_array().unwrap().iter().filter(|row| is(row)) {
        let sum = sums.entry(row[key].as_str().unwrap().to_owned()).or_default();
        for (column, shown) in columns {
            *sum.entry(shown).or_default() += row[column].as_u64().unwrap();
        }
    }
    sums.into_iter().map(|(key, sum)| (key, json!(sum))).collect()
}

/// The same columns of the page's table.
fn shown(table: BTreeMap<String, Value>, columns: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let number = |row: &Value, name: &str| row[name].as_str().unwrap().parse::<u64>().unwrap();
    let rows = table.into_iter().map(|(key, row)| {
        let values: BTreeMap<_, _> = columns
            .iter()
            .map(|(_, name)| (*name, number(&row, name)))
            .collect();
        (key, json!(values))
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_of_the_report_are_those_of_the_marts() {
    let (sim, lake) = (school().await, Lake::folder());
    export(&sim, &lake).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    report(&sim, &lake, &file, &[]).await;
    let marts = run(&lake, "duckdb", &[script(&lake, "duckdb").await], &[])
        .await
        .remove(0);
    let mut browser = Browser::start().await;
    browser.go(&format!("file://{}", file.display())).await;

    let all = |_: &Value| true;
    let visits = [
        ("expected", "expected"),
        ("attended", "attended"),
        ("unknown", "unknown"),
        ("late", "late"),
    ];
    let with_lessons = [&visits[..], &[("lessons", "lessons")]].concat();
    for (section, level) in [
        ("#course", "lesson_course"),
        ("#group", "student_group"),
        ("#level-1", "city"),
        ("#level-2", "branch"),
    ] {
        let expected = sums(&marts["attendance_by_level"], "entity_id", &with_lessons, |row| {
            row["level"] == level
        });
        assert!(!expected.is_empty());
        assert_eq!(
            shown(table(&mut browser, section).await, &with_lessons),
            expected,
            "{level}"
        );
    }
    let expected = sums(&marts["student_course"], "external_user_id", &visits, all);
    assert_eq!(shown(table(&mut browser, "#student").await, &visits), expected);
    let teachers = [
        ("students_expected", "expected"),
        ("students_attended", "attended"),
        ("lessons", "lessons"),
    ];
    let expected = sums(&marts["teachers"], "external_user_id", &teachers, all);
    assert_eq!(shown(table(&mut browser, "#teacher").await, &teachers), expected);

    let lessons = marts["lessons"].as_array().unwrap();
    let answer = browser
        .eval("({...document.querySelector('#answer').dataset})")
        .await;
    assert_eq!(answer["lessons"], lessons.len().to_string());
    for name in ["expected", "attended", "unknown", "late", "guests"] {
        let sum: u64 = lessons.iter().map(|lesson| lesson[name].as_u64().unwrap()).sum();
        assert_eq!(answer[name], sum.to_string(), "{name}");
    }
    let lowest = lessons
        .iter()
        .filter(|lesson| lesson["expected"].as_u64().unwrap() - lesson["unknown"].as_u64().unwrap() >= 3)
        .filter_map(|lesson| lesson["share"].as_f64())
        .fold(1.0, f64::min);
    let first = browser
        .eval("(d => d.attended / d.expected)(document.querySelector('#lowest-lessons tbody tr').dataset)")
        .await;
    assert!(
        (first.as_f64().unwrap() - lowest).abs() < 1e-6,
        "{first} is not {lowest}"
    );
}

/// The rules for every page, no error and no request.
async fn assert_decent(browser: &mut Browser, what: &str) {
    let faults = browser.eval(include_str!("../serve/decent.js")).await;
    assert_eq!(faults, json!([]), "{what}");
    assert_eq!(browser.complaints, Vec::<String>::new(), "{what}");
    assert_eq!(browser.eval("window.hacked ?? 0").await, 0, "{what}");
    let requests = browser
        .eval("performance.getEntriesByType('resource').length")
        .await;
    assert_eq!(requests, 0, "{what} requests something");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_is_decent_on_every_screen_and_hostile_names_are_text() {
    let (sim, lake) = (school().await, Lake::folder());
    sim.edit(|school| {
        for call in &mut school.calls {
            call.lesson.name = format!("{} {HOSTILE}", call.lesson.name);
            call.participants[1].name = HOSTILE.into();
        }
    });
    export(&sim, &lake).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let mut browser = Browser::start().await;
    let named = report(&sim, &lake, &file, &["--names"]).await;
    for (width, dark, lang) in [
        (1280, false, "en"),
        (360, true, "en"),
        (360, false, "ru"),
        (1280, true, "ru"),
    ] {
        let more = ["--names", "--lang", lang];
        report(&sim, &lake, &file, &more).await;
        browser.look(width, 900, dark).await;
        browser.go(&format!("file://{}", file.display())).await;
        assert_decent(&mut browser, &format!("{width} px, {lang}")).await;
        browser.picture(&format!("report-{width}-{lang}")).await;
    }
    assert!(browser.text("#lowest-lessons").await.contains(HOSTILE), "as text");
    let names = |html: &str| {
        let school = sim.school();
        let students = school
            .calls
            .iter()
            .flat_map(|call| &call.participants)
            .filter(|p| !p.moderator && p.external_user_id.is_some());
        students.filter(|student| html.contains(&student.name)).count()
    };
    assert!(names(&named) > 0);
    let teachers: std::collections::BTreeSet<String> = {
        let school = sim.school();
        let people = school.calls.iter().flat_map(|call| &call.participants);
        people
            .filter(|person| person.moderator)
            .map(|person| person.name.clone())
            .collect()
    };
    let mut anonymous = report(&sim, &lake, &file, &[]).await;
    for teacher in teachers {
        anonymous = anonymous.replace(&teacher, "");
    }
    assert_eq!(names(&anonymous), 0, "students are named without --names");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cuts_switch_sort_and_filter_by_keyboard_and_work_without_a_script() {
    let (sim, lake) = (school().await, Lake::folder());
    export(&sim, &lake).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    report(&sim, &lake, &file, &[]).await;
    let url = format!("file://{}", file.display());
    let mut browser = Browser::start().await;
    browser.look(1280, 900, false).await;
    browser.go(&url).await;
    let visible = "[...document.querySelectorAll('#cuts a')].filter(a => document.querySelector(a.hash).checkVisibility()).map(a => a.hash).join()";
    assert_eq!(browser.eval(visible).await, "#course");
    browser.eval("document.querySelector('#cuts a').focus()").await;
    browser.press("ArrowRight").await;
    assert_eq!(browser.eval(visible).await, "#group");
    browser.press("ArrowLeft").await;
    browser.press("ArrowLeft").await;
    assert_eq!(browser.eval(visible).await, "#level-2", "it goes round");
    browser
        .eval("document.querySelector('#cuts a[href=\"#group\"]').focus()")
        .await;
    browser.press("Enter").await;
    assert_eq!(browser.eval(visible).await, "#group");

    let rows = "[...document.querySelectorAll('#group tbody tr')].filter(r => !r.hidden)";
    let all = browser.eval(&format!("{rows}.length")).await.as_u64().unwrap();
    let first = browser.eval(&format!("{rows}[0].cells[0].textContent")).await;
    browser
        .eval("document.querySelector('#group input').focus()")
        .await;
    browser.type_text(first.as_str().unwrap()).await;
    assert_eq!(browser.eval(&format!("{rows}.length")).await, 1);
    assert!(
        browser
            .text("#group [role=status]")
            .await
            .contains(&format!("1 of {all}"))
    );
    browser.eval("(i => { i.value = ''; i.dispatchEvent(new Event('input')); })(document.querySelector('#group input'))").await;
    let expected = format!("{rows}.map(r => Number(r.dataset.expected))");
    browser
        .eval("document.querySelector('#group th[data-sort=expected] button').focus()")
        .await;
    for (sort, order) in [("ascending", "a - b"), ("descending", "b - a")] {
        browser.press("Enter").await;
        let shown = browser.eval(&expected).await;
        let sorted = browser.eval(&format!("{expected}.sort((a, b) => {order})")).await;
        assert_eq!(shown, sorted);
        let said = browser
            .eval("document.querySelector('#group th[data-sort=expected]').getAttribute('aria-sort')")
            .await;
        assert_eq!(said, sort);
    }
    assert_eq!(browser.complaints, Vec::<String>::new());

    // Without a script all cuts are there, on paper too.
    browser
        .call("Emulation.setEmulatedMedia", json!({"media": "print"}))
        .await;
    let all_cuts = browser.eval(visible).await;
    assert_eq!(all_cuts, "#course,#group,#teacher,#student,#level-1,#level-2");
    browser
        .call("Emulation.setEmulatedMedia", json!({"media": "screen"}))
        .await;
    browser
        .call("Emulation.setScriptExecutionDisabled", json!({"value": true}))
        .await;
    browser.go(&url).await;
    assert_eq!(browser.eval(visible).await, all_cuts);
}
