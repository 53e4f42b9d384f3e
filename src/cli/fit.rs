//! The part of `check` that tests the mapping with reports and says how to improve it.

use std::path::Path;

use super::CommandContext;
use super::check_report::{CheckOutcome, CheckReport};
use super::sample::{self, Sample};
use crate::api::Client;
use crate::config::{Config, ReportFormat};
use crate::lake::table::builtin::participants;
use crate::tables::{self, CallTimes, ColumnMisfit, Fit, Mapping, SheetFit, Sightings, TableFit};
use crate::{Error, ErrorKind, Result, pipeline, store};

/// The number of names to show in a list on one line.
const SHOWN: usize = 12;
/// The number of fields to show with their shapes.
const FIELDS_SHOWN: usize = 60;
/// The columns for the times of stays: in a JSON report and in a workbook.
const SESSIONS: [&str; 2] = [participants::sessions, "joined_at"];

/// A mapping and the name that `check` gives it.
pub(super) struct NamedMapping {
    /// The mapping.
    pub mapping: Mapping,
    name: String,
    is_builtin: bool,
}

impl NamedMapping {
    /// The mapping of the configuration.
    pub fn configured(config: &Config) -> Result<Self> {
        let mapping = pipeline::mapping(config)?;
        let file = config.export.mapping.as_str();
        Ok(Self {
            mapping,
            name: name_of(file),
            is_builtin: file.is_empty(),
        })
    }

    /// The mapping of a file.
    pub fn read(file: &Path) -> Result<Self> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| {
            Error::new(ErrorKind::Usage, "--mapping", format!("{name}: {error}"))
                .hint("name a file to be laid over the built-in mapping")
        })?;
        Ok(Self {
            mapping: Mapping::over_builtin(&text, &name)?,
            name: name_of(&name),
            is_builtin: false,
        })
    }
}

fn name_of(file: &str) -> String {
    match file {
        "" => "built in".to_owned(),
        file => format!("{file}, over the built-in one"),
    }
}

/// Tests the mapping with a report of each format: the newest landed one, or else one from the API. Errors of store and API
/// are ignored here, because other checks report them.
pub(super) async fn judge(
    context: &CommandContext,
    config: &Config,
    named: &NamedMapping,
    report: &CheckReport,
) -> Result<()> {
    let samples = samples(context, config).await;
    for sample in &samples {
        let place = if sample.landed {
            "in the lake"
        } else {
            "from the API"
        };
        let format = format_name(sample.format);
        let about = format!("the {format} report of call {} {place}", sample.call);
        tell(sample.format, &sample.bytes, sample.times, &about, named, report)?;
    }
    for format in &config.export.reports {
        if !samples.iter().any(|sample| sample.format == *format) {
            let text = format!(
                "{}; no {} report was found to test it with",
                named.name,
                format_name(*format)
            );
            report.good("mapping", &text)?;
        }
    }
    Ok(())
}

/// Tests the mapping with the report in a file.
pub(super) fn judge_file(file: &Path, named: &NamedMapping, report: &CheckReport) -> Result<()> {
    let about = file.display().to_string();
    let bytes = match std::fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return report.bad("mapping", &format!("{about}: {error}")),
    };
    // Every workbook is a ZIP archive, whatever the name of the file.
    let format = match bytes.starts_with(b"PK") {
        true => ReportFormat::Xlsx,
        false => ReportFormat::Json,
    };
    tell(format, &bytes, CallTimes::default(), &about, named, report)
}

fn format_name(format: ReportFormat) -> &'static str {
    match format {
        ReportFormat::Json => "JSON",
        ReportFormat::Xlsx => "XLSX",
    }
}

async fn samples(context: &CommandContext, config: &Config) -> Vec<Sample> {
    let mut samples = Vec::new();
    if let Ok(store) = store::open(&config.store).await {
        for format in &config.export.reports {
            if let Ok(Some(sample)) = sample::landed_sample(&*store, *format).await {
                samples.push(sample);
            }
        }
    }
    let is_missing = |format: &ReportFormat| !samples.iter().any(|sample| sample.format == *format);
    let missing: Vec<ReportFormat> = config.export.reports.iter().copied().filter(is_missing).collect();
    if let (false, Ok(client)) = (
        missing.is_empty(),
        Client::new(&config.api, context.cancel.clone()),
    ) {
        let fetched = sample::fetched_samples(&client, config, &missing, chrono::Utc::now()).await;
        samples.extend(fetched.unwrap_or_default());
    }
    samples
}

/// Compares a report with the mapping and tells the result.
fn tell(
    format: ReportFormat,
    bytes: &[u8],
    times: CallTimes,
    about: &str,
    named: &NamedMapping,
    report: &CheckReport,
) -> Result<()> {
    let fit = match format {
        ReportFormat::Json => {
            tables::fit_report(bytes, &named.mapping, times).map_err(|why| format!("is {why}"))
        }
        ReportFormat::Xlsx => {
            tables::fit_workbook(bytes, &named.mapping, times).map_err(|why| format!("can't be read: {why}"))
        }
    };
    let fit = match fit {
        Ok(fit) => fit,
        Err(why) => return report.bad("mapping", &format!("{}; {about} {why}", named.name)),
    };
    let tested = format!("{}; tested with {about}", named.name);
    let people = fit.tables.iter().find(|table| table.table == participants::NAME);
    match people.and_then(|table| table.rows) {
        None => report.bad("mapping", &format!("{tested}, where it finds no participants"))?,
        Some(0) => {
            let text =
                format!("{tested}, whose list of participants is empty: take a report of a call with people");
            report.tell(CheckOutcome::Doubtful, "mapping", &text)?;
        }
        Some(rows) if people.is_some_and(|table| table.kept == 0) => {
            let text = format!("{tested}, where none of the {rows} participants counts");
            report.bad("mapping", &text)?;
        }
        Some(_) => report.good("mapping", &tested)?,
    }
    tell_tables(&fit, report)?;
    for (observation, sightings) in &fit.notes.observed {
        let text = format!("{} {}", sightings.values().sum::<u64>(), observation.sentence());
        report.tell(CheckOutcome::Doubtful, "report", &text)?;
    }
    tell_sheets(&fit.sheets, report)?;
    tell_untaken(&fit, report)?;
    tell_suggestions(&fit, named, report)
}

fn tell_tables(fit: &Fit, report: &CheckReport) -> Result<()> {
    for table in &fit.tables {
        let Some(rows) = table.rows else {
            let text = match fit.sheets.is_empty() {
                true => "the report has no such rows",
                false => "no sheet feeds it",
            };
            report.tell(CheckOutcome::GoodWithRemark, &table.table, text)?;
            continue;
        };
        tell_rows(table, rows, report)?;
        if rows > 0 {
            details(report, "bound", &table.bound)?;
            details(report, "unbound", &table.unbound)?;
        }
        for misfit in &table.misfits {
            tell_misfit(table, misfit, report)?;
        }
        if table.table == participants::NAME && rows > 0 {
            tell_people(table, fit, report)?;
        }
    }
    Ok(())
}

/// Tells how many rows there are, and how many of them count.
fn tell_rows(table: &TableFit, rows: u64, report: &CheckReport) -> Result<()> {
    let TableFit {
        place,
        kept,
        misshapen,
        ..
    } = table;
    let text = match *kept == rows {
        true => format!("{rows} rows at {place}"),
        false => format!("{kept} of {rows} rows at {place} count, by `where` and `skip`"),
    };
    match *misshapen {
        0 => report.good(&table.table, &text),
        count => {
            let hint = match place.ends_with([']', '}']) {
                true => String::new(),
                false => format!(": if {place} is a list, its rows are at {place}[]"),
            };
            let text = format!("{count} of {rows} rows at {place} are no objects{hint}");
            report.tell(CheckOutcome::Doubtful, &table.table, &text)
        }
    }
}

fn tell_misfit(table: &TableFit, misfit: &ColumnMisfit, report: &CheckReport) -> Result<()> {
    let outcome = match misfit.is_key && misfit.is_most() {
        true => CheckOutcome::Bad,
        false => CheckOutcome::Doubtful,
    };
    let text = format!("{} of {} values do not fit", misfit.count, misfit.of);
    report.tell(outcome, &format!("{}.{}", table.table, misfit.column), &text)?;
    for (shape, place, times) in &misfit.shapes {
        report.detail(&format!("{times} × {shape} at {place}"))?;
    }
    if !misfit.example.is_empty() && misfit.example.contains('[') {
        report.detail(&format!("for example {}", misfit.example))?;
    }
    Ok(())
}

/// Tells if people can't be known, or nobody's time is.
fn tell_people(table: &TableFit, fit: &Fit, report: &CheckReport) -> Result<()> {
    let is_bound = |column: &str| table.bound.iter().any(|bound| bound == column);
    if !SESSIONS.iter().any(|column| is_bound(column)) {
        let text = "unbound: everybody counts as present, and nobody's time in the call is known";
        report.tell(CheckOutcome::Doubtful, "SESSIONS", text)?;
    }
    if let Some(outside) = &fit.outside {
        report.tell(CheckOutcome::Doubtful, "SESSIONS", &outside.sentence())?;
    }
    if !is_bound(participants::external_user_id) || !is_bound(participants::external_meeting_id) {
        let text = "external_user_id or external_meeting_id is unbound: no participant can be joined with lesson data";
        report.tell(CheckOutcome::Doubtful, "participants", text)?;
    }
    Ok(())
}

fn details(report: &CheckReport, title: &str, names: &[String]) -> Result<()> {
    match names.is_empty() {
        true => Ok(()),
        false => report.detail(&format!("{title}: {}", names.join(", "))),
    }
}

fn tell_sheets(sheets: &[SheetFit], report: &CheckReport) -> Result<()> {
    for sheet in sheets {
        let taken = sheet
            .columns
            .iter()
            .filter(|column| column.feeds.is_some())
            .count();
        let headers: Vec<&str> = sheet
            .columns
            .iter()
            .map(|column| column.header.as_str())
            .collect();
        let likely = match sheet.header_row {
            Some(row) => format!("its header is likely row {row}: {}", headers.join(", ")),
            None => format!(
                "it has {} rows, and none of the first 50 looks like a header",
                sheet.rows
            ),
        };
        let (outcome, text) = match (&sheet.table, sheet.is_known) {
            (Some(table), true) => {
                let row = sheet.header_row.unwrap_or_default();
                let text = format!(
                    "feeds {table}; its header is row {row}; {taken} of {} columns are taken",
                    headers.len()
                );
                (CheckOutcome::Good, text)
            }
            (Some(table), false) => {
                let text = format!("is one of {table}, but has no header that the mapping knows; {likely}");
                (CheckOutcome::Doubtful, text)
            }
            (None, _) if sheet.rows == 0 => (CheckOutcome::GoodWithRemark, "is empty".to_owned()),
            (None, _) => (
                CheckOutcome::GoodWithRemark,
                format!("no table takes it; {likely}"),
            ),
        };
        report.tell(outcome, &sheet.label, &text)?;
        let takes = sheet
            .columns
            .iter()
            .filter_map(|column| Some(format!("{} → {}", column.header, column.feeds.as_ref()?)));
        let takes: Vec<String> = takes.collect();
        if !takes.is_empty() {
            report.detail(&takes.join(", "))?;
        }
    }
    Ok(())
}

/// Tells the fields that no column takes: the outermost ones with their number, then each value's place and shape.
fn tell_untaken(fit: &Fit, report: &CheckReport) -> Result<()> {
    if fit.untaken.is_empty() && fit.notes.unmapped.is_empty() {
        return Ok(());
    }
    let times =
        |(path, sightings): (&String, &Sightings)| format!("{path} ({})", sightings.values().sum::<u64>());
    let outermost: Vec<String> = match fit.sheets.is_empty() {
        true => fit.notes.unmapped.iter().map(times).collect(),
        false => vec![format!("{} columns of sheets", fit.untaken.len())],
    };
    report.tell(
        CheckOutcome::GoodWithRemark,
        "fields that no column takes",
        &shortened(&outermost),
    )?;
    for field in fit.untaken.iter().take(FIELDS_SHOWN) {
        let shape = field.shape.as_deref().unwrap_or("no value");
        let sort = field
            .looks_like
            .map(|sort| format!(", looks like {sort}"))
            .unwrap_or_default();
        report.detail(&format!("{}: {} × {shape}{sort}", field.path, field.count))?;
    }
    match fit.untaken.len().saturating_sub(FIELDS_SHOWN) {
        0 => Ok(()),
        more => report.detail(&format!("and {more} more")),
    }
}

fn shortened(names: &[String]) -> String {
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}{more}", names[..names.len().min(SHOWN)].join(", "))
}

fn tell_suggestions(fit: &Fit, named: &NamedMapping, report: &CheckReport) -> Result<()> {
    if fit.suggestions.is_empty() {
        return Ok(());
    }
    let text = match named.is_builtin {
        true => "a file with these lines may take more of the report; try it with --mapping FILE",
        false => "these lines in the mapping file may take more of the report; put each under its header",
    };
    report.tell(CheckOutcome::GoodWithRemark, "suggestion", text)?;
    if named.is_builtin {
        report.detail("version = 1")?;
    }
    fit.suggestions.iter().try_for_each(|line| report.detail(line))
}
