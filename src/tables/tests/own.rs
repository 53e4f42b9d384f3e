//! Mappings of a user's own: laid over the built-in one, with tables of their own.

use super::*;

pub(super) fn over(text: &str) -> Mapping {
    Mapping::over_builtin(&format!("version = 1\n{text}"), "mine.toml").expect(text)
}

pub(super) fn refusal(text: &str) -> String {
    Mapping::over_builtin(&format!("version = 1\n{text}"), "mine.toml")
        .expect_err(text)
        .to_string()
}

#[test]
fn nothing_laid_over_changes_nothing() {
    assert_eq!(over("").digest(), mapping().digest());
    assert_ne!(
        over("[table.messages]\ncolumns.text = 'body'").digest(),
        mapping().digest()
    );
}

#[test]
fn names_are_added_before_the_built_in_ones() {
    let mapping = over(
        "[table.participants]\n\
         columns.name = ['fio', 'person.name']\n\
         columns.role = { from = 'kind', replace = true }\n\
         columns.camera_s = { from = 'cameraMs', scale = 0.001 }\n\
         columns.messages_count = { from = 'messagesMilli', scale = 0.001 }\n\
         columns.sessions = { fields = { joined_at = 'in' } }",
    );
    let report = json!({"participants": [
        {"id": "a", "fio": "Новое", "name": "старое", "role": "user", "kind": "teacher", "cameraMs": 1_234, "cameraSeconds": 9,
         "messagesMilli": "3000", "sessions": [{"in": "2026-11-22T10:00:00Z", "leftAt": "2026-11-22T10:01:00Z"}]},
        {"id": "b", "name": "старое", "role": "user", "sessions": [{"joinedAt": "2026-11-22T10:00:00Z"}]},
    ]});
    let day = build_with(&manifest(), &mapping, report.to_string());
    let participants = file(&day, "participants");
    assert_eq!(column(participants, "name"), ["Новое", "старое"]);
    assert_eq!(column(participants, "role"), ["teacher", "null"]);
    assert_eq!(column(participants, "camera_s"), ["1.234", "null"]);
    assert_eq!(column(participants, "messages_count"), ["3", "null"]);
    assert_eq!(column(participants, "sessions_count"), ["1", "1"]);
}

#[test]
fn rows_in_another_place_drop_paths_to_the_former_enclosing_values() {
    let mapping = over("[table.poll_votes]\nrows = 'ballots[]'\ncolumns.question = 'q'");
    let report = json!({"id": "no poll", "ballots": [{"q": "Да?", "participantId": "p"}]});
    let day = build_with(&manifest(), &mapping, report.to_string());
    let votes = file(&day, "poll_votes");
    assert_eq!(column(votes, "question"), ["Да?"]);
    assert_eq!(column(votes, "poll_id"), ["null"]);
}

#[test]
fn a_table_of_ones_own_has_the_calls_columns_and_an_extra() {
    let mapping = over(
        "[table.homework]\n\
         row = 'a task that was set'\n\
         rows = 'participants[].homework[]'\n\
         [table.homework.columns]\n\
         task = { from = ['task', 'title'], type = 'string', doc = 'The task' }\n\
         participant_id = { from = '^.id', type = 'string' }\n\
         external_user_id = { from = 'nothing', type = 'int64' }\n\
         due_at = { from = 'due', type = 'timestamp' }\n\
         points = { from = 'points', type = 'double' }\n\
         tags = { from = 'tags[]', type = 'list' }\n\
         done = { from = 'done', type = 'bool' }\n\
         raw = { from = '@', type = 'json' }",
    );
    let report = json!({"participants": [{"id": "p1", "externalUserId": "u1", "homework": [
        {"title": "§5", "due": 1_795_341_600, "points": "4.5", "tags": ["a", 1], "done": true, "new": 1},
        {"task": "№7", "due": "soon"},
    ]}]});
    let day = build_with(&manifest(), &mapping, report.to_string());
    let homework = file(&day, "homework");
    assert_eq!(homework.key, "homework/date=2026-11-22/s1.parquet");
    let reader = ParquetRecordBatchReaderBuilder::try_new(homework.bytes.clone()).expect("Parquet");
    let table = mapping
        .tables()
        .find(|table| table.name == "homework")
        .expect("table");
    assert_eq!(reader.schema().fields(), table.schema().fields());
    let rows = reader.build().expect("reader").collect::<Result<Vec<_>, _>>();
    let rows = rows.expect("batches");
    let read = |name: &str| {
        let options = FormatOptions::default().with_null("null");
        let array = rows[0].column_by_name(name).expect(name);
        let format = ArrayFormatter::try_new(array, &options).expect("format");
        (0..rows[0].num_rows())
            .map(|row| format.value(row).to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(read("task"), ["§5", "№7"]);
    assert_eq!(read("call_id"), ["c2", "c2"]);
    assert_eq!(read("participant_id"), ["p1", "p1"]);
    assert_eq!(read("points"), ["4.5", "null"]);
    assert_eq!(read("done"), ["true", "null"]);
    assert_eq!(total(day.notes.bad.get("homework.due_at")), 1);
    assert_eq!(file(&day, "participants").rows, 1);
}

#[test]
fn a_wrong_overlay_is_refused_with_file_line_and_reason() {
    let own = |rest: &str| refusal(&format!("[table.mine]\nrows = 'm[]'\n{rest}"));
    let named = |name: &str| {
        refusal(&format!(
            "[table.{name}]\nrows = 'm[]'\ncolumns.a = {{ from = 'a', type = 'string' }}"
        ))
    };
    insta::assert_snapshot!(
        [
            refusal("[table.mesages]\ncolumns.text = 'body'"),
            refusal("[table.coverage]\ncolumns.reason = 'why'"),
            refusal("[table.messages]\nsource = 'call'"),
            refusal("[table.messages]\nrow = 'x'"),
            refusal("[table.messages]\nrows = 'a..b'"),
            refusal("[table.messages]\n\n[table.messages.columns]\ntext = 'a'\nbody = 'b'"),
            refusal("[table.messages]\ncolumns.text = { from = 'a', type = 'json' }"),
            refusal("[table.messages]\ncolumns.text = { from = 'a', scale = 2 }"),
            refusal("[table.messages]\ncolumns.text = 'a'\ncolumns.text = 'b'"),
            refusal("[table.participants]\ncolumns.camera_s = { from = 'a', scale = 0 }"),
            refusal("[table.poll_votes]\ncolumns.option_text = { find = '^^^.o[]', key = 'k', by = 'b', take = 't' }"),
            refusal("[table.poll_votes]\ncolumns.option_text = { find = 'o', key = 'k', by = 'b', take = 't' }"),
            refusal("[ignore]\nreport = ['a', 'b..c']"),
            refusal("[ignore]\nsheet = ['a']"),
            own("columns = {}"),
            own("columns.a = 'a'"),
            own("columns.a = { from = 'a', type = 'text' }"),
            own("columns.call_id = { from = 'a', type = 'string' }"),
            own("columns.extra = { from = 'a', type = 'string' }"),
            own("columns.date = { from = 'a', type = 'string' }"),
            own("columns.A = { from = 'a', type = 'string' }"),
            own("source = 'room'\ncolumns.a = { from = 'a', type = 'string' }"),
            refusal("[table.mine]\ncolumns.a = { from = 'a', type = 'string' }"),
            named("raw"),
            named("_telelake"),
            named("'../up'"),
            named("'date=1'"),
            named("hierarchy"),
        ]
        .join("\n")
    );
}

/// A workbook of participants below a header, all of text.
fn workbook(name: &str, rows: &[&[&str]]) -> Vec<u8> {
    let mut book = rust_xlsxwriter::Workbook::new();
    let sheet = book.add_worksheet().set_name(name).expect("name");
    for (row, cells) in (0..).zip(rows) {
        for (column, text) in (0..).zip(*cells) {
            sheet.write(row, column, *text).expect("cell");
        }
    }
    book.save_to_buffer().expect("workbook")
}

/// The participants that a mapping reads from a workbook.
fn read<const N: usize>(mapping: &Mapping, book: &[u8], columns: [&str; N]) -> Vec<Vec<String>> {
    let mut day = manifest();
    let reports = &mut day.calls.get_mut("c2").expect("call").reports;
    let landed = landing(Status::Done, Some("raw/reports/c.xlsx"), None);
    *reports = [(ReportFormat::Xlsx, landed)].into();
    let report = Ok(("c2".into(), ReportFormat::Xlsx, Bytes::copy_from_slice(book)));
    let built = build_day(
        &day,
        mapping,
        "file:///lake/",
        at("23:00:00"),
        &LessonIndex::default(),
        [report],
    );
    let built = built.expect("a day");
    let columns = columns.map(|name| column(file(&built, "participants"), name));
    let row = |at: usize| columns.iter().map(|column| column[at].clone()).collect();
    let mut rows: Vec<_> = (0..columns[0].len()).map(row).collect();
    rows.sort();
    rows
}

#[test]
fn headers_of_a_workbook_are_added_to_those_that_were_there() {
    let mapping = over(
        "[table.participants.xlsx]\n\
         sheets = 'Ученики'\n\
         columns.name = 'Ученик'\n\
         columns.external_user_id = { from = ['Код'], replace = true }\n\
         columns.role = 'Участник'\n\
         values.role.moderator = ['Учитель', 'Слушатель']\n\
         skip.name = 'Среднее'",
    );
    let columns = ["name", "external_user_id", "role", "email", "sessions_count"];
    for sheet in ["Ученики", "Участники"] {
        let book = workbook(
            sheet,
            &[
                &[
                    "Ученик",
                    "Имя",
                    "Код",
                    "ID пользователя",
                    "Участник",
                    "E-mail",
                    "Вход",
                ],
                &[
                    "Анна",
                    "другое",
                    "17",
                    "x",
                    "Учитель",
                    "a@example.org",
                    "22.11.2026 10:00",
                ],
                &["Иван", "другое", "18", "x", "Ведущий", "", "22.11.2026 10:00"],
                &["Пётр", "другое", "19", "x", "Слушатель", "", "22.11.2026 10:00"],
                &["Среднее: 5", "", "", "", "", "", ""],
            ],
        );
        assert_eq!(
            read(&mapping, &book, columns),
            [
                ["Анна", "17", "moderator", "a@example.org", "1"],
                ["Иван", "18", "moderator", "null", "1"],
                ["Пётр", "19", "moderator", "null", "1"],
            ],
            "{sheet}"
        );
    }
    // The built-in headers still hold where the new ones are not there, but not those that were replaced.
    let book = workbook(
        "Участники",
        &[
            &["Имя", "ID пользователя", "Роль", "Вход"],
            &["Анна", "17", "Ведущий", "22.11.2026 10:00"],
        ],
    );
    let expected = ["Анна", "null", "moderator", "null", "1"];
    assert_eq!(read(&mapping, &book, columns), [expected]);
}

#[test]
fn rules_of_a_workbook_can_be_replaced_altogether() {
    let mapping = over(
        "[table.participants.xlsx]\nreplace = true\nsheets = 'Ученики'\ncolumns = { name = 'Ученик', joined_at = 'Начало' }",
    );
    let rows: &[&[&str]] = &[
        &["Ученик", "E-mail", "Начало"],
        &["Анна", "a@example.org", "22.11.2026 10:00"],
    ];
    let columns = ["name", "email", "sessions_count"];
    let expected = ["Анна", "null", "1"];
    assert_eq!(read(&mapping, &workbook("Ученики", rows), columns), [expected]);
    assert_ne!(mapping.digest(), super::mapping().digest());
    let same = over("[table.messages.xlsx]\nsheets = 'чат'\ncolumns.text = 'Сообщение'");
    assert_ne!(same.digest(), mapping.digest());
    insta::assert_snapshot!(
        [
            refusal("[table.messages.xlsx]\ncolumns.text = { names = 'Текст' }"),
            refusal("[table.messages.xlsx]\ncolumns.body = 'Текст'"),
            refusal("[table.messages.xlsx]\nskip.body = 'Итого'"),
            refusal("[table.messages.xlsx]\nreplace = true\nsheets = 'Чат'"),
            refusal("[table.mine]\nrows = 'm[]'\ncolumns.a = { from = 'a', type = 'string' }\nxlsx.columns.a = 'A'"),
        ]
        .join("\n")
    );
}
