//! Every text of the attendance page in every language. Pure. `{}` is a gap to fill.

use crate::lang::{Count, PageText};

macro_rules! texts {
    ($($name:ident: $en:literal, $ru:literal;)*) => {
        $(pub const $name: PageText = PageText { en: $en, ru: $ru };)*
    };
}

#[rustfmt::skip]
texts! {
    TITLE: "Attendance, {}", "Посещаемость, {}";
    SKIP: "Skip to the content", "Перейти к содержанию";
    ANSWER: "In short", "Коротко";
    NOTHING: "The lake has no lessons with lesson data in this period.", "В озере нет занятий с данными LMS за этот период.";
    NOTHING_HINT: "Lesson data comes by telelake meta import or from meta.feeds; the next run joins it with the calls.", "Данные занятий загружает telelake meta import или meta.feeds; следующий запуск соединит их со звонками.";
    CAME: "of the expected visits took place: {} of {}", "ожидавшихся посещений состоялось: {} из {}";
    NONE_KNOWN: "It is not known yet who came: reports are missing.", "Пока неизвестно, кто пришёл: нет отчётов.";
    ABSENT_AND_LATE: "{} absent, {} more than five minutes late.", "Пропущено: {}; опозданий больше пяти минут: {}.";
    UNKNOWN_LEFT_OUT: "{} visits are left out, because a report is missing.", "Не учтено посещений: {}, потому что нет отчёта.";
    GUESTS: "{} more visits were by users without lesson data for the lesson.", "Ещё посещений без данных занятия: {}.";
    TREND: "Trend by week", "По неделям";
    TREND_CHART: "Share of expected visits: {}", "Доля посещений: {}";
    DAYS: "By day", "По дням";
    DATE: "Date", "Дата";
    WEEK_FROM: "Week from", "Неделя с";
    LOOK_LESSONS: "Lessons to look at", "Занятия, на которые стоит взглянуть";
    LOOK_GROUPS: "Groups to look at", "Группы, на которые стоит взглянуть";
    LOOK_NONE: "Nobody was absent from a lesson with three or more students.", "Ни на одном занятии с тремя и более учениками никто не отсутствовал.";
    CUTS: "In cuts", "В разрезах";
    COURSES: "Course", "Курс";
    GROUPS: "Group", "Группа";
    TEACHERS: "Teacher", "Преподаватель";
    STUDENTS: "Student", "Ученик";
    LESSON: "Lesson", "Занятие";
    LESSONS: "Lessons", "Занятий";
    EXPECTED: "Expected", "Ожидалось";
    ATTENDED: "Came", "Пришли";
    ABSENT: "Absent", "Пропуски";
    LATE: "Late", "Опоздания";
    SHARE: "Share", "Доля";
    BY_WEEK: "By week", "По неделям";
    HELD: "Held, late", "Провёл, опоздал";
    FILTER: "Filter by name", "Фильтр по имени";
    BELOW: "Share below", "Доля ниже";
    ANY: "any", "любая";
    SHOWN: "{} of {} shown", "Показано {} из {}";
    LEFT_OUT: "{} more rows are left out: ask for fewer dates, or use the marts of telelake sql.", "Ещё строк не показано: {}. Задайте меньше дат или возьмите витрины telelake sql.";
    NO_NAMES: "Students appear by their id in the LMS; the option --names shows their names.", "Ученики показаны по id в LMS; с параметром --names — по именам.";
    TABLE: "As a table", "Таблицей";
    FOOTER: "A visit is a student in a lesson. Late: more than five minutes after the scheduled start. Made by telelake {} on {} from {}.", "Посещение — ученик на занятии. Опоздание — больше пяти минут после начала по расписанию. Сделано telelake {} {} по {}.";
}

/// The number of lessons.
pub const LESSON_COUNT: Count = Count {
    en: ["in {} lesson", "in {} lessons"],
    ru: ["на {} занятии", "на {} занятиях", "на {} занятиях"],
};
