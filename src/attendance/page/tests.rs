//! The page as text. A browser opens it in `tests/it/analysts/`.

use chrono::NaiveDate;

use super::*;
use crate::attendance::day_rows::{AttendanceRole, AttendanceRow};

const HOSTILE: &str = "</script><script>window.hacked=1</script><img src=x onerror=\"window.hacked=2\">'&";

fn options(language: PageLanguage, names: bool) -> PageOptions {
    PageOptions {
        language,
        names,
        lake: "file:///lake".into(),
        now: "2026-11-24T02:00:00Z".parse().expect("instant"),
        zone: Tz::UTC,
    }
}

fn summary() -> AttendanceSummary {
    let date: NaiveDate = "2026-11-23".parse().expect("date");
    let mut summary = AttendanceSummary::new(date, date);
    let row = |user: &str, role, attended| AttendanceRow {
        date,
        meeting: "m1".into(),
        user: user.into(),
        role,
        name: Some(format!("Name of {user} {HOSTILE}")),
        lesson: Some(HOSTILE.into()),
        start: None,
        course: Some((HOSTILE.into(), None)),
        group: Some(("g1".into(), Some(HOSTILE.into()))),
        attended,
        visit: Tally::of_visit(attended, Some(400.0)),
    };
    summary.add_meeting(&[
        row("s1", AttendanceRole::Student, Some(true)),
        row("s2", AttendanceRole::Student, Some(false)),
        row("s3", AttendanceRole::Student, Some(true)),
        row("s4", AttendanceRole::Student, None),
        row("t1", AttendanceRole::Teacher, Some(true)),
        row("x1", AttendanceRole::Guest, Some(true)),
    ]);
    summary
}

#[test]
fn names_of_strangers_are_text_and_the_policy_names_style_and_script() {
    let html = page(&summary(), &options(PageLanguage::En, true));
    assert_eq!(html.matches("<script").count(), 1, "{html}");
    assert!(!html.contains("<img") && !html.contains("hacked=1</script>"));
    assert!(html.contains("&lt;/script&gt;&lt;script&gt;window.hacked=1"));
    assert!(html.contains("style-src 'sha256-") && html.contains("default-src 'none'"));
    assert!(
        !html.contains("http://") && !html.contains("https://"),
        "no foreign address"
    );
}

#[test]
fn names_of_students_appear_only_if_they_are_asked_for() {
    for language in [PageLanguage::En, PageLanguage::Ru] {
        let without = page(&summary(), &options(language, false));
        assert!(
            !without.contains("Name of s1") && without.contains("s1"),
            "{without}"
        );
        assert!(without.contains("Name of t1"), "teachers have their names");
        assert!(page(&summary(), &options(language, true)).contains("Name of s1"));
    }
}

#[test]
fn the_answer_leaves_out_what_is_not_known() {
    let html = page(&summary(), &options(PageLanguage::En, false));
    for expected in [
        "<b>67\u{a0}%</b>",
        "took place: 2 of 3, in 1 lesson.",
        "1 absent, 2 more than five minutes late.",
        "1 visits are left out",
        "1 more visits were by users without lesson data",
    ] {
        assert!(html.contains(expected), "no {expected:?} in {html}");
    }
    let russian = page(&summary(), &options(PageLanguage::Ru, false));
    assert!(
        russian.contains("посещений состоялось: 2 из 3, на 1 занятии."),
        "{russian}"
    );
}

#[test]
fn a_period_without_lessons_says_so() {
    let date: NaiveDate = "2026-11-23".parse().expect("date");
    let html = page(
        &AttendanceSummary::new(date, date),
        &options(PageLanguage::En, false),
    );
    assert!(html.contains("The lake has no lessons with lesson data in this period."));
    assert!(!html.contains("<table"), "{html}");
}
