//! The operator's page in a real browser.

use chrono::{Days, NaiveDate, Timelike, Utc};
use chrono_tz::Tz;
use serde_json::{Value, json};
use telelake::lake::date_of;
use telelake::simulator::{Call, Endpoint, Failure, Matcher, Oddities, Options, Simulator, days};

use crate::pipeline::small;
use crate::support::browser::Browser;
use crate::support::daemon::Plan;
use crate::support::lake::Lake;
use crate::support::program::Telelake;

/// Names that an attacker would choose.
const HOSTILE_SPACE: &str = "<img src=x onerror=\"window.hacked=1\">'\"&";
const HOSTILE_ROOM: &str = "\"></title><script>window.hacked=2</script>";

/// A zone in which no midnight is near.
pub(super) fn calm_zone() -> Tz {
    if (6..18).contains(&Utc::now().hour()) {
        Tz::UTC
    } else {
        Tz::Etc__GMTPlus12
    }
}

/// The index of the date with a failed report.
const FAILED: usize = 5;

pub(super) fn today() -> NaiveDate {
    date_of(Utc::now(), calm_zone())
}

/// Two spaces with lessons on the seven days up to yesterday, and many failures.
pub(super) fn school() -> Options {
    Options {
        spaces: 2,
        zone: calm_zone(),
        dates: days(today() - Days::new(7), 7),
        odd: Oddities {
            active_call: false,
            ..Oddities::all()
        },
        ..small()
    }
}

pub(super) fn plan(sim: &Simulator, lake: &Lake) -> Plan {
    Plan::new(sim, lake)
        .env("TELELAKE_TIMEZONE", calm_zone().name())
        .env("TELELAKE_SCHEDULE__CRON", "[\"0 2 * * *\"]")
        .env("TELELAKE_SCHEDULE__CATCH_UP", "false")
}

pub(super) async fn backfill(sim: &Simulator, lake: &Lake, date: NaiveDate) {
    let date = date.to_string();
    let args = ["-q", "backfill", "--from", &date, "--to", &date];
    let run = Telelake::against(sim, lake, &args)
        .env("TELELAKE_TIMEZONE", calm_zone().name())
        .env("TELELAKE_API__RETRIES", "0");
    let status = run.run().await.status;
    assert!([0, 3].contains(&status), "{status}");
}

/// A lake of the school except for one day that no run has listed.
async fn lake_of(sim: &Simulator) -> (Lake, NaiveDate) {
    sim.edit(|school| {
        let space = school.spaces[0].id.clone();
        school.spaces[0].name = HOSTILE_SPACE.into();
        let mut rooms = school.rooms.iter_mut().filter(|room| room.space_id == space);
        rooms.by_ref().for_each(|room| room.name = HOSTILE_ROOM.into());
    });
    // Three days are asked for; the days beside them become known, and not whole. One report comes to nothing.
    let lake = Lake::folder();
    let dates = &sim.options().dates;
    let unseen = dates[2];
    let school = sim.school();
    let on = |call: &&Call| date_of(call.started_at, calm_zone()) == dates[FAILED];
    let call = school.calls.iter().find(on).unwrap();
    sim.faults().order(
        Matcher::endpoint(Endpoint::Report).containing(&call.id),
        Failure::Status(500),
    );
    for asked in [0, FAILED, 6] {
        backfill(sim, &lake, dates[asked]).await;
    }
    (lake, unseen)
}

/// Checks the rules for every page: names for all controls, headings, text that can be
/// read, and no need to scroll sideways.
async fn assert_decent(browser: &mut Browser, what: &str) {
    let faults = browser.eval(include_str!("decent.js")).await;
    assert_eq!(faults, json!([]), "{what}");
    assert_eq!(browser.complaints, Vec::<String>::new(), "{what}");
    assert_eq!(browser.eval("window.hacked ?? 0").await, 0, "{what}");
}

/// The states of the days of a space, from `/api/status`.
fn expected(day: &Value) -> &'static str {
    let number = |name: &str| day[name].as_u64().unwrap();
    let failed = number("reports_failed") + number("records_failed") + number("rooms_missed");
    let pending = number("calls_pending") + number("reports_pending") + number("records_pending");
    let denied = number("reports_denied") + number("records_denied");
    match (failed, pending, denied) {
        (1.., ..) => "failed",
        _ if day["built"] == false => "unbuilt",
        (_, 1.., _) => "pending",
        _ if day["listed"] == false => "pending",
        (_, _, 1..) => "denied",
        _ if number("calls") == 0 => "empty",
        _ => "whole",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calendar_shows_the_state_of_each_day_and_opens_it() {
    let sim = Simulator::start(school()).await.unwrap();
    let (lake, unseen) = lake_of(&sim).await;
    let daemon = plan(&sim, &lake).start().await;
    let mut browser = Browser::start().await;
    browser.language("en").await;
    browser.look(1280, 900, false).await;
    browser.go(&daemon.url("/")).await;
    assert_decent(&mut browser, "the first page").await;
    assert!(browser.text("#calendar").await.contains(HOSTILE_SPACE), "as text");

    let status = daemon.json("/api/status").await;
    let known = status["days"].as_array().unwrap();
    assert!(known.len() >= 6, "{known:?}");
    let mut seen = std::collections::BTreeSet::new();
    for day in known {
        let (date, space) = (day["date"].as_str().unwrap(), day["space_id"].as_str().unwrap());
        let link = format!(".days a[href='/day?date={date}&space={space}']");
        let class = browser
            .eval(&format!("document.querySelector({link:?}).className"))
            .await;
        assert_eq!(class, expected(day), "{date} {space}");
        seen.insert(class.as_str().unwrap().to_owned());
    }
    assert!(seen.len() >= 3, "the school has too little in it: {seen:?}");
    // The day that no run has listed, in both spaces and in the total.
    let link = format!(".days a.unseen[href^='/day?date={unseen}']");
    let count = browser
        .eval(&format!("document.querySelectorAll({link:?}).length"))
        .await;
    assert_eq!(count, 3);
    let verdict = browser.text("#verdict").await;
    assert!(
        verdict.contains("Earlier days of these five weeks that are not whole"),
        "{verdict}"
    );

    // From the calendar to a day, and to each missing object with its reason.
    let failed = sim.options().dates[FAILED];
    let space = known
        .iter()
        .find(|day| day["date"] == failed.to_string() && expected(day) == "failed")
        .unwrap();
    let id = space["space_id"].as_str().unwrap();
    browser
        .click(&format!(".days a[href='/day?date={failed}&space={id}']"))
        .await;
    browser.loaded().await;
    assert_decent(&mut browser, "a day").await;
    let text = browser.text("main").await;
    for lack in space["missing"].as_array().unwrap() {
        let id = lack["record_id"].as_str().or(lack["call_id"].as_str()).unwrap();
        let reason = lack["reason"]
            .as_str()
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(text.contains(id) && text.contains(&reason), "{lack}\n{text}");
    }
    let detail = daemon.json(&format!("/api/day?date={failed}&space={id}")).await;
    for room in detail["rooms"].as_array().unwrap() {
        for call in room["calls"].as_array().unwrap() {
            assert!(text.contains(call["call_id"].as_str().unwrap()));
        }
    }
    assert_nobody_is_named(&sim, &mut browser).await;
    assert_eq!(daemon.stop().await, 0);
}

/// Asserts that no person of the school is on the page.
async fn assert_nobody_is_named(sim: &Simulator, browser: &mut Browser) {
    let html = browser.eval("document.documentElement.outerHTML").await;
    let html = html.as_str().unwrap();
    for person in sim.school().calls.iter().flat_map(|call| &call.participants) {
        for personal in [Some(&person.name), person.email.as_ref(), person.phone.as_ref()]
            .into_iter()
            .flatten()
        {
            assert!(!html.contains(personal.as_str()), "{personal} is on the page");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_started_by_its_button_is_followed_to_its_end() {
    let options = Options {
        zone: calm_zone(),
        dates: days(today() - Days::new(2), 2),
        odd: Oddities::none(),
        ..small()
    };
    let sim = Simulator::start(options).await.unwrap();
    let lake = Lake::folder();
    // The job cannot end before the test allows it.
    sim.faults()
        .order(Matcher::endpoint(Endpoint::Report), Failure::Status(503));
    let daemon = plan(&sim, &lake).env("TELELAKE_API__RETRIES", "20").start().await;
    let mut browser = Browser::start().await;
    browser.language("en").await;
    browser.look(1280, 900, false).await;
    browser.go(&daemon.url("/")).await;
    assert!(browser.text("#verdict h2").await.contains("The lake is empty"));
    let from = sim.options().dates[0];
    browser
        .eval(&format!("document.querySelector('#from').value = '{from}'"))
        .await;
    browser.click("#start").await;
    browser.loaded().await;
    assert!(browser.text(".notice").await.contains("Asked for"));
    browser
        .wait_for("document.querySelector('#work .job progress[aria-label=Reports]')?.max > 0")
        .await;
    let work = browser.text("#work").await;
    assert!(work.contains("Backfill") && work.contains("0 of"), "{work}");
    browser.picture("progress").await;
    sim.faults().clear();
    // The page notices the end by itself, and shows the result.
    browser
        .wait_for("!('busy' in document.querySelector('#work').dataset)")
        .await;
    browser
        .wait_for("document.querySelectorAll('.days a.whole').length >= 2")
        .await;
    assert!(browser.text("#verdict h2").await.contains("Yesterday is whole"));
    browser
        .wait_for("document.querySelector('#runs .badge.whole') !== null")
        .await;
    assert!(browser.text("#runs").await.contains("Backfill"));
    assert_eq!(browser.text("#said").await, "The work is done.");
    assert_eq!(
        browser.text(".notice").await,
        "",
        "what was asked for is no news any more"
    );

    // The same with only the keyboard: from the calendar to the button of a day.
    let day = format!("/day?date={from}");
    browser.go(&daemon.url(&day)).await;
    focus_by_tab(&mut browser, "#retry").await;
    browser.press("Enter").await;
    browser.loaded().await;
    assert!(browser.text(".notice").await.contains("Asked for"));
    daemon.ended("backfill", 1).await;
    assert_eq!(browser.complaints, Vec::<String>::new());
    assert_eq!(daemon.stop().await, 0);
}

/// Moves through the elements by the keyboard; each must show its focus.
async fn focus_by_tab(browser: &mut Browser, selector: &str) {
    for _ in 0..600 {
        browser.press("Tab").await;
        let shown = browser
            .eval("(() => { const s = getComputedStyle(document.activeElement); return s.outlineStyle + ' ' + document.activeElement.tagName; })()")
            .await;
        assert!(
            !shown.as_str().unwrap().starts_with("none"),
            "the focus is not to be seen: {shown}"
        );
        if browser
            .eval(&format!("document.activeElement.matches({selector:?})"))
            .await
            == true
        {
            return;
        }
    }
    panic!("{selector} can't be reached by the keyboard");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_signs_in_with_the_token_and_out_again() {
    let (sim, lake) = (Simulator::start(small()).await.unwrap(), Lake::folder());
    let daemon = plan(&sim, &lake)
        .env("TELELAKE_SERVE__TOKEN", "the-page-t0ken")
        .start()
        .await;
    let mut browser = Browser::start().await;
    browser.language("ru").await;
    browser.look(360, 740, false).await;
    browser.go(&daemon.url("/runs")).await;
    assert_decent(&mut browser, "the door").await;
    assert_eq!(browser.text("button").await, "Войти");
    browser.picture("login-ru-light-360").await;
    // By the keyboard, because the field has the focus.
    browser.type_text("wrong").await;
    browser.press("Enter").await;
    browser.loaded().await;
    assert_eq!(browser.text("#wrong").await, "Токен неверный.");
    // The browser logs the status 401 to the console.
    browser.complaints.retain(|complaint| !complaint.contains("401"));
    assert_decent(&mut browser, "the door, after a wrong token").await;
    browser.type_text("the-page-t0ken").await;
    browser.press("Enter").await;
    browser.loaded().await;
    assert_eq!(browser.text("h1").await, "Запуски", "where they wanted to go");
    let cookies = browser.call("Network.getCookies", json!({})).await;
    let cookies = cookies["cookies"].as_array().unwrap();
    assert_eq!(cookies.len(), 1);
    assert_eq!(cookies[0]["httpOnly"], true);
    assert_eq!(cookies[0]["sameSite"], "Strict");
    assert!(
        !cookies[0].to_string().contains("t0ken"),
        "the token itself is not kept"
    );
    assert_decent(&mut browser, "signed in").await;
    // A link on another site does not send the cookie, but the user stays signed in.
    let link = format!("data:text/html,<a href='{}'>a chat</a>", daemon.url("/runs"));
    browser.go(&link).await;
    browser.click("a").await;
    browser.loaded_times(2).await;
    assert_eq!(browser.text("h1").await, "Запуски");
    browser.click("form[action='/logout'] button").await;
    browser.loaded().await;
    browser.go(&daemon.url("/")).await;
    assert_eq!(browser.text("button").await, "Войти");
    assert!(!daemon.log().contains("t0ken"));
    assert_eq!(daemon.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_in_both_languages_schemes_and_widths() {
    let sim = Simulator::start(school()).await.unwrap();
    let (lake, unseen) = lake_of(&sim).await;
    let daemon = plan(&sim, &lake).start().await;
    let mut browser = Browser::start().await;
    let (dates, space) = (sim.options().dates.clone(), sim.school().spaces[0].id.clone());
    let run = daemon.json("/api/runs").await["runs"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let room = sim.school().rooms[0].id.clone();
    // A day that is landed and not built.
    unbuild(&lake, dates[0]).await;
    let pages = [
        ("unbuilt", format!("/day?date={}", dates[0])),
        ("overview", "/".to_owned()),
        ("month", format!("/?month={}", dates[0].format("%Y-%m"))),
        ("day", format!("/day?date={}&space={space}", dates[FAILED])),
        ("date", format!("/day?date={}", dates[FAILED])),
        ("unseen", format!("/day?date={unseen}&space={space}")),
        ("run", format!("/run?id={run}")),
        ("room", format!("/room?space={space}&room={room}")),
        ("search", format!("/search?q={}", &room[..4])),
        ("system", "/system".to_owned()),
        ("runs", "/runs".to_owned()),
    ];
    for (language, words) in [("en", "Coverage"), ("ru", "Покрытие")] {
        browser.language(language).await;
        for dark in [false, true] {
            for width in [1280, 360] {
                browser.look(width, 800, dark).await;
                for (name, path) in &pages {
                    browser.go(&daemon.url(path)).await;
                    let scheme = if dark { "dark" } else { "light" };
                    let what = format!("{name}-{language}-{scheme}-{width}");
                    browser.picture(&what).await;
                    assert_eq!(browser.eval("document.documentElement.lang").await, language);
                    assert!(browser.text("nav").await.contains(words), "{what}");
                    assert_decent(&mut browser, &what).await;
                }
            }
        }
    }
    assert_eq!(daemon.stop().await, 0);
}

/// Makes the tables of a day of the first space look as if they were never built.
async fn unbuild(lake: &Lake, date: NaiveDate) {
    let keys = lake.keys().await.into_keys();
    let mut keys = keys.filter(|key| key.starts_with(&format!("_telelake/days/date={date}/")));
    let key = keys.next().unwrap();
    let mut manifest = lake.json(&key).await;
    manifest["built"] = Value::Null;
    let marker = key.replace("/days/", "/open/");
    lake.put(marker.trim_end_matches(".json"), "").await;
    lake.put(&key, serde_json::to_vec(&manifest).unwrap()).await;
}

const COMES_BACK: &str = "document.dispatchEvent(new Event('visibilitychange'))";

#[tokio::test(flavor = "multi_thread")]
async fn the_page_updates_itself() {
    let options = Options {
        zone: calm_zone(),
        dates: days(today() - Days::new(2), 2),
        odd: Oddities::none(),
        ..small()
    };
    let sim = Simulator::start(options).await.unwrap();
    let lake = Lake::folder();
    let daemon = plan(&sim, &lake).start().await;
    let mut browser = Browser::start().await;
    browser.language("en").await;
    browser.look(1280, 900, false).await;
    browser.go(&daemon.url("/")).await;
    assert!(browser.text("#asof").await.starts_with("as of "));
    // A page of another version of the program reloads when it hears of this version.
    let other = format!("document.body.dataset.version = 'another'; window.old = 1; {COMES_BACK}");
    browser.load_by(&other).await;
    assert_eq!(browser.eval("window.old ?? 0").await, 0);
    // Changes that happened while the reader was away are shown on return without a reload.
    browser.eval("window.mine = 1").await;
    backfill(&sim, &lake, sim.options().dates[1]).await;
    browser.eval(COMES_BACK).await;
    browser
        .wait_for("document.querySelector('.days a.whole') !== null")
        .await;
    assert_eq!(browser.eval("window.mine").await, 1);
    assert_eq!(browser.complaints, Vec::<String>::new());
    // A stopped daemon is reported with the age of the data.
    assert_eq!(daemon.stop().await, 0);
    browser.eval(COMES_BACK).await;
    browser
        .wait_for("getComputedStyle(document.getElementById('lost')).display !== 'none'")
        .await;
    let lost = browser.text("#lost").await;
    assert!(
        lost.contains("does not answer") && lost.contains("as of "),
        "{lost}"
    );
    browser.picture("gone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_arrow_keys_move_through_the_calendar() {
    let options = Options {
        spaces: 2,
        zone: calm_zone(),
        dates: days(today() - Days::new(9), 9),
        odd: Oddities::none(),
        ..small()
    };
    let sim = Simulator::start(options).await.unwrap();
    let lake = Lake::folder();
    for date in [0, 7, 8] {
        backfill(&sim, &lake, sim.options().dates[date]).await;
    }
    let daemon = plan(&sim, &lake).start().await;
    let mut browser = Browser::start().await;
    browser.language("en").await;
    let dates = &sim.options().dates;
    let rows = "[...document.querySelectorAll('.days tbody tr')]";
    let here = format!(
        "(() => {{ const a = document.activeElement; return {rows}.indexOf(a.closest('tr')) + ' ' + \
         new URL(a.href).searchParams.get('date'); }})()"
    );
    for (width, row_down) in [(1280, true), (360, false)] {
        browser.look(width, 900, false).await;
        browser.go(&daemon.url("/")).await;
        browser
            .eval(&format!(
                "{rows}[1].querySelector('a[href*=\"{}\"]').focus()",
                dates[8]
            ))
            .await;
        let mut at = async |key: &str| {
            browser.press(key).await;
            browser.eval(&here).await.as_str().unwrap().to_owned()
        };
        assert_eq!(at("ArrowLeft").await, format!("1 {}", dates[7]));
        assert_eq!(at("ArrowRight").await, format!("1 {}", dates[8]));
        if row_down {
            assert_eq!(at("ArrowDown").await, format!("2 {}", dates[8]));
            assert_eq!(at("ArrowUp").await, format!("1 {}", dates[8]));
        } else {
            assert_eq!(at("ArrowUp").await, format!("1 {}", dates[1]), "a week before");
            assert_eq!(at("ArrowDown").await, format!("1 {}", dates[8]));
        }
        assert_eq!(at("Home").await, format!("1 {}", dates[0]));
        assert_eq!(at("End").await, format!("1 {}", dates[8]));
    }
    assert_eq!(browser.complaints, Vec::<String>::new());
    assert_eq!(daemon.stop().await, 0);
}
