//! Every text of the page in every language. Pure. `{}` is a gap to fill.

use super::lang::{Count, Text};

macro_rules! texts {
    ($($name:ident: $en:literal, $ru:literal;)*) => {
        $(pub const $name: Text = Text { en: $en, ru: $ru };)*
        #[cfg(test)]
        const TEXTS: &[(&str, Text)] = &[$((stringify!($name), $name)),*];
    };
}

macro_rules! counts {
    ($($name:ident: [$one:literal, $more:literal], [$ru_one:literal, $ru_few:literal, $ru_many:literal];)*) => {
        $(pub const $name: Count = Count { en: [$one, $more], ru: [$ru_one, $ru_few, $ru_many] };)*
        #[cfg(test)]
        const COUNTS: &[(&str, Count)] = &[$((stringify!($name), $name)),*];
    };
}

#[rustfmt::skip]
texts! {
    // The frame.
    COVERAGE: "Coverage", "Покрытие";
    RUNS: "Runs", "Запуски";
    SIGN_OUT: "Sign out", "Выйти";
    SKIP: "Skip to the content", "Перейти к содержанию";
    MAIN_NAV: "Pages", "Страницы";
    LOST: "The daemon does not answer. This is the state as of {}. The page tries again by itself.", "Служба не отвечает. Показано состояние на {}. Страница повторит запрос сама.";
    AS_OF: "as of {}", "на {}";
    LAKE: "Lake", "Озеро";
    SYSTEM: "System", "Система";
    SEARCH: "Search by name or id", "Поиск по имени или id";
    BACK: "Back to coverage", "Назад к покрытию";
    NOT_FOUND: "There is nothing here", "Здесь ничего нет";
    WRONG_REQUEST: "The request is not valid", "Такой запрос невозможен";
    STORE_FAILED: "The store can't be read", "Хранилище не читается";
    STORE_HINT: "What to do: read the daemon's log and run `telelake check`.", "Что делать: посмотрите журнал службы и выполните `telelake check`.";
    TIMES_IN: "Times are in {}.", "Время указано по поясу {}.";

    // Signing in.
    SIGN_IN: "Sign in", "Вход";
    TOKEN: "Token", "Токен";
    TOKEN_HINT: "The one set as serve.token in the configuration.", "Тот, что задан в настройке serve.token.";
    ENTER: "Sign in", "Войти";
    WRONG_TOKEN: "This is not the token.", "Токен неверный.";
    TOO_MANY_GUESSES: "Too many wrong tokens. Wait a minute, then try again.", "Слишком много неверных токенов. Подождите минуту и попробуйте снова.";

    // States of a day.
    WHOLE: "all there", "всё на месте";
    EMPTY: "no calls", "занятий не было";
    DENIED: "refused by the API", "API отказывает";
    LOST_DAY: "did not come in time", "не пришло в срок";
    UNBUILT: "tables not built", "таблицы не собраны";
    PENDING: "not there yet", "ещё не всё";
    UNSEEN: "nobody looked", "никто не смотрел";
    FAILED: "failed", "ошибки";
    NOTHING: "no day yet", "дня ещё нет";
    LEGEND: "Legend", "Обозначения";

    // The verdict.
    LAST_DAY: "Yesterday, {}", "Вчера, {}";
    ALL_WHOLE: "Yesterday is whole", "Вчерашний день загружен полностью";
    ALL_EMPTY: "There were no calls yesterday", "Вчера занятий не было";
    ALL_DENIED: "Yesterday is loaded, but the API refuses a part of it", "Вчерашний день загружен, но часть данных API не отдаёт";
    ALL_LOST: "A part of yesterday did not come in time", "Часть вчерашнего дня не пришла в срок";
    ALL_PENDING: "Yesterday is not whole yet", "Вчерашний день загружен не полностью";
    ALL_UNBUILT: "Yesterday is loaded, but its tables were not built", "Вчерашний день загружен, но таблицы не собраны";
    ALL_UNSEEN: "Yesterday has not been loaded yet", "Вчерашний день ещё не загружали";
    ALL_FAILED: "Yesterday has failures", "Вчерашний день: есть ошибки";
    NO_DAYS: "The lake is empty", "Озеро пустое";
    NO_DAYS_HINT: "No day has been exported yet. The first scheduled run exports yesterday; load earlier days with the form below.", "Ни один день ещё не выгружен. Первый запуск по расписанию возьмёт вчерашний; более ранние дни можно загрузить ниже.";
    DENIED_HINT: "The tariff or the token does not include these reports. Everything else is in the lake.", "Тариф или токен не даёт эти отчёты. Остальное на месте.";
    LOST_HINT: "The daemon does not ask for it any more (export.give_up). Loading the day asks once more.", "Больше не запрашивается (export.give_up). Загрузка этого дня запросит ещё раз.";
    ASKS_AT: "The run of {} asks again by itself.", "Запуск {} повторит запрос сам.";
    ASKS_UNSCHEDULED: "The next `telelake run` asks again; this daemon has no schedule.", "Повторит следующий `telelake run`; в этой службе запусков по расписанию нет.";
    COMES_PAUSED: "The queue is paused; the next run starts when it is resumed.", "Очередь приостановлена: следующий запуск будет после её возобновления.";
    ASKS_NOBODY: "No run will ask again by itself. Load the day with the button.", "Сам ни один запуск этого не повторит: загрузите день кнопкой.";
    LOOKS_AT: "The run of {} will load it.", "Запуск {} его посмотрит.";
    LOOKS_UNSCHEDULED: "The next `telelake run` will load it; this daemon has no schedule.", "Его посмотрит следующий `telelake run`; в этой службе запусков по расписанию нет.";
    LOOKS_NOBODY: "No run will load it by itself. Load the day with the button.", "Сам ни один запуск его не посмотрит: загрузите день кнопкой.";
    BUILDS_AT: "The run of {} will build them, without requests to the API.", "Их соберёт запуск {}; запросы к API не нужны.";
    BUILDS_UNSCHEDULED: "The next `telelake run` will build them; `telelake rebuild` builds them now.", "Их соберёт следующий `telelake run` или сейчас `telelake rebuild`.";
    BUILDS_NOBODY: "No run will build them by itself. Load the day with the button, or run `telelake rebuild`.", "Сам ни один запуск их не соберёт: загрузите день кнопкой или выполните `telelake rebuild`.";
    DROP: "{} calls; the average for this weekday is {}.", "Звонков: {}; обычно в этот день недели — {}.";
    OLDER_OPEN: "Earlier days of these five weeks that are not whole:", "Более ранние дни этих пяти недель, загруженные не полностью:";
    OLDER_WHOLE: "All earlier days of these five weeks are whole.", "Все более ранние дни этих пяти недель загружены.";
    AND_MORE: "and {} more", "и ещё {}";
    LAST_RUN: "Last run", "Последний запуск";
    NO_RUNS: "No run yet", "Запусков ещё не было";
    STORE_OK: "store in reach", "хранилище доступно";

    STORE_LOST: "The store is out of reach since {}", "Хранилище недоступно с {}";
    STORE_LOST_HINT: "The coverage below is as of {}. Read the daemon's log and run `telelake check`.", "Покрытие ниже — на {}. Посмотрите журнал службы и выполните `telelake check`.";
    TOKEN_OK: "API took the token at {}", "API принял токен в {}";
    TOKEN_REFUSED: "The API refuses the token since {}", "API отвергает токен с {}";
    TOKEN_HINT_NEW: "Put a new personal token into api.token.", "Укажите новый персональный токен в api.token.";
    API_LOST: "The API does not answer since {}", "API не отвечает с {}";
    API_LOST_HINT: "The daemon checks every half minute and continues by itself when the API answers.", "Служба проверяет каждые полминуты и продолжит сама, когда API ответит.";

    // Causes.
    C_TIMES: "{} × {} in {}", "{} × {} в {}";
    C_SPACE: "The rooms of {} could not all be listed", "Не удалось получить все комнаты: {}";
    C_DAMAGED: "The manifest of {} can't be read", "Манифест не читается: {}";
    C_UNBUILT: "The tables of {} were not built", "Таблицы не собраны: {}";

    // The calendar.
    CALENDAR: "Days", "Дни";
    LATEST: "Latest five weeks", "Последние пять недель";
    SPACE: "Space", "Пространство";
    ALL_SPACES: "All spaces", "Все пространства";
    NO_ROWS: "The lake has no day in these dates.", "За эти даты в озере нет ни одного дня.";
    CELL: "{}, {}: {}", "{}, {}: {}";
    MONTHS: "Months", "Месяцы";
    MONTH: "Month", "Месяц";
    DAYS_STAND: "Days by state", "Дни пространств";
    NOT_WHOLE: "Incomplete", "Не полностью";

    // Charts.
    OVER_TIME: "Over time", "По времени";
    BY_DAY: "By day: {}", "По дням: {}";
    BY_MONTH: "By month: {}", "По месяцам: {}";
    CALLS: "Calls", "Звонки";
    PARTICIPANTS: "Participants", "Участники";
    HOURS: "Recorded hours", "Часы записей";
    BYTES: "Recorded bytes", "Объём записей";
    REPORTS: "Reports", "Отчёты";
    RECORDINGS: "Recordings", "Записи";
    CHART: "{}: {} in total, at most {}", "{}: всего {}, не больше {}";
    IN_ALL: "in all {}", "всего {}";
    AT_MOST: "at most {}", "не больше {}";

    // The join.
    JOIN: "Lesson data and reports", "Данные уроков и отчёты";
    JOIN_WELL: "Lesson data and reports match on these days.", "Расхождений между данными уроков и отчётами за эти дни нет.";
    JOIN_NONE: "There was nothing to match on these days.", "За эти дни сводить было нечего.";
    WITHOUT_META: "Participants without lesson data", "Участники без данных урока";
    WITHOUT_META_HINT: "the LMS sent none for their user and meeting", "LMS не прислала их для этого пользователя и встречи";
    ABSENT: "Expected users in no call", "Ожидались, но не пришли";
    ABSENT_HINT: "this is attendance, not an error", "это посещаемость, а не ошибка";
    UNKNOWN_ROLES: "Users with an unknown role", "Пользователи с неизвестной ролью";
    UNKNOWN_ROLES_HINT: "not student, teacher, parent or assistant", "не ученик, учитель, родитель или ассистент";
    DUPLICATES: "Participants who share user and meeting", "Участники с одним и тем же пользователем и встречей";
    DUPLICATES_HINT: "within one call", "в одном звонке";
    WORST_DAYS: "Days with the most participants without lesson data:", "Дни, где больше всего без данных урока:";

    // Work.
    WORK: "Now and next", "Сейчас и дальше";
    IDLE: "Nothing is running.", "Сейчас ничего не выполняется.";
    WAITING: "Waits for its turn", "Ждёт очереди";
    BEGINS: "begins", "начинается";
    PHASE_START: "begins", "начинается";
    PHASE_WALK: "lists rooms and calls", "перечисляет комнаты и звонки";
    PHASE_DAYS: "lands reports and recordings", "загружает отчёты и записи";
    LISTINGS: "List requests", "Запросы списков";
    DAYS: "Days", "Дни";
    OF: "{} of {}", "{} из {}";
    SAID: "{}: {}, {} of {} days", "{}: {}, дней {} из {}";
    SAID_IDLE: "The work is done.", "Работа закончена.";
    BYTES_A_SECOND: "{} a second", "{} в секунду";
    REPORTS_A_MINUTE: "{} reports a minute", "отчётов в минуту: {}";
    LEFT: "about {} left", "осталось около {}";
    LEFT_AT_LEAST: "at least {} left", "осталось не меньше {}";
    STOPPING: "is being stopped", "останавливается";
    ASKED_BY: "requested at {} {}", "запрошено в {}, {}";
    BY_PAGE: "from the page", "со страницы";
    BY_API: "by the API", "через API";
    BY_WEBHOOK: "by a webhook", "вебхуком";
    BY_SCHEDULE: "by the schedule", "по расписанию";
    BY_SIGNAL: "by a signal", "сигналом";
    BY_UNKNOWN: "by an unknown caller", "неизвестно кем";
    GOES_ON: "It continues from {}; the earlier dates are done.", "Продолжит с {}; предыдущие даты готовы.";
    CANCEL: "Cancel", "Отменить";
    CANCEL_OF: "Cancel: {}", "Отменить: {}";
    PAUSE: "Pause the queue", "Приостановить очередь";
    RESUME: "Resume the queue", "Возобновить очередь";
    PAUSED: "The queue is paused since {} ({}). No new job starts.", "Очередь приостановлена с {} ({}): ничего нового не начнётся.";
    SINCE: "since {}", "с {}";
    SCHEDULED_RUN: "Scheduled run", "Запуск по расписанию";
    BACKFILL: "Backfill", "Загрузка";
    WEBHOOK_LOOK: "Export of rooms that webhooks named", "Просмотр комнат по вебхукам";
    REBUILD: "Rebuild of tables", "Пересборка таблиц";
    DUE: "Due: {}", "По расписанию: {}";
    NEXT_RUNS: "Next runs", "Следующие запуски";
    NO_SCHEDULE: "No run is scheduled because schedule.cron is empty.", "Запусков по расписанию нет: schedule.cron пуст.";
    IN_SPAN: "in {}", "через {}";
    EVENTS: "Webhooks", "Вебхуки";
    NO_EVENTS: "No event is waiting.", "Событий в ожидании нет.";
    NEXT_EVENT: "the next one at {}", "ближайшее в {}";
    META: "Lesson data", "Данные уроков";
    NO_META: "All of it has been passed on to the API.", "Всё передано в API.";
    ASKED: "Asked for. It starts when the work before it is done.", "Принято. Начнётся, когда закончится то, что выполняется раньше.";

    // The forms.
    LOAD: "Load a range of days", "Загрузить диапазон дней";
    FROM: "From", "С";
    TO: "To, inclusive", "По, включительно";
    WHAT: "What", "Что";
    EVERYTHING: "Reports and recordings", "Отчёты и записи";
    ANALYTICS: "Reports only", "Только отчёты";
    RECORDINGS_ALONE: "Recordings only", "Только записи";
    FORCE: "Load again what is already in the lake", "Загрузить заново и то, что уже есть в озере";
    START: "Load", "Загрузить";
    RETRY: "Try this day again", "Повторить этот день";
    LOAD_DAY: "Load this day", "Загрузить этот день";
    RETRY_DATE: "Try the day again in all spaces", "Повторить день во всех пространствах";
    RETRY_YESTERDAY: "Load yesterday now", "Загрузить вчерашний день сейчас";

    CONFIRM: "This is a long job", "Это большое задание";
    CONFIRM_HINT: "It covers more than {} days. The nightly run goes first when it is due, and you can cancel the job at any time.", "Запрошено больше {} дней. Ночной запуск пройдёт вне очереди, задание можно отменить в любой момент.";
    CONFIRM_YES: "Yes, load all of it", "Да, загрузить всё";
    DAYS_IN_LAKE: "Of them in the lake", "Из них в озере";
    LISTINGS_AT_MOST: "List requests, at most", "Запросов списков, не больше";

    // A day.
    DAY: "Day", "День";
    NO_DAY: "The lake has no data of this day, because it was never loaded.", "В озере нет ничего за этот день: его никто не смотрел.";
    DAMAGED: "The day's manifest can't be read. `telelake verify` shows why; loading the day writes it again.", "Манифест дня не читается. Подробнее скажет `telelake verify`; загрузка дня запишет его заново.";
    NOT_BUILT: "The tables were not built from the landed files.", "Таблицы собраны не по тем данным, что загружены.";
    NOT_LISTED: "Not all rooms were listed for the whole date.", "Не все комнаты опрошены за всю дату.";
    NOT_OVER: "The day is not over. All rooms are listed again after its end.", "День ещё не закончился: все комнаты опрашивают за всю дату после его конца.";
    SPACE_MISSED: "The rooms of the space could not all be listed.", "Список комнат пространства получить полностью не удалось.";
    ROOMS_MISSED: "Rooms that could not be listed:", "Комнаты, которые не удалось опросить:";
    OLD_DAY: "The store is out of reach: this is the day as of {}, without its rooms.", "Хранилище недоступно: показан день на {}, без комнат.";
    MISSING: "What is missing", "Чего не хватает";
    NOT_MISSING: "Nothing is missing.", "Всё на месте.";
    WHY: "Why", "Почему";
    NO_REASON: "no reason is known", "причина неизвестна";
    ATTEMPTS: "Attempts", "Попыток";
    STATE: "State", "Состояние";
    ROOM: "Room", "Комната";
    ROOMS: "Rooms and calls", "Комнаты и звонки";
    NO_CALLS: "No calls and no recordings.", "Ни звонков, ни записей.";
    CALL: "Call", "Звонок";
    RECORD: "Recording", "Запись";
    CALL_OR_RECORD: "Call or recording", "Звонок или запись";
    STARTED: "Start", "Начало";
    FINISHED: "End", "Конец";
    STILL_RUNS: "runs", "идёт";
    JSON: "JSON report", "Отчёт JSON";
    XLSX: "XLSX report", "Отчёт XLSX";
    WITHOUT_CALL: "without a call", "без звонка";
    S_DONE: "there", "есть";
    S_PENDING: "not yet", "ещё нет";
    S_DENIED: "refused", "отказано";
    S_FAILED: "failed", "ошибка";
    S_LOST: "lost", "не пришло";
    S_UNAVAILABLE: "never made", "не создана";

    AGAIN: "Again", "Ещё раз";
    AGAIN_OF: "Ask again: {}, room {}", "Запросить ещё раз: {}, комната {}";

    // A room, a search, the lake's size.
    NO_ROOM: "The lake has no data of this room.", "В озере нет ничего об этой комнате.";
    LATEST_DAYS: "The latest {} days are shown.", "Показаны последние дни: {}.";
    FOUND: "Search: {}", "Поиск: {}";
    FOUND_NOTHING: "Nothing was found. Search spaces and rooms by a part of their name or id; calls, recordings and meetings by their whole id.", "Ничего не найдено. Пространства и комнаты ищутся по части имени или id, звонки, записи и встречи — по id целиком.";
    CALLS_AND_MEETINGS: "Calls, recordings, meetings", "Звонки, записи, встречи";
    MEETING: "Meeting", "Встреча";
    SPACES: "Spaces", "Пространства";
    ROOMS_FOUND: "Rooms", "Комнаты";
    SIZE: "Size", "Объём";
    SIZE_HINT: "of reports, recordings and tables", "отчёты, записи и таблицы";
    GROWN: "In the last 30 days", "За последние 30 дней";
    FREE: "Free in the folder", "Свободно в папке";
    BY_MONTHS: "By month", "По месяцам";
    LAST_WEBHOOK: "Last webhook", "Последний вебхук";
    TAKEN: "Accepted", "Принято";
    REFUSED: "Refused", "Отклонено";
    LAST_REFUSAL: "Last refusal", "Последний отказ";
    COUNTED_SINCE: "Counted since the daemon's start, {}.", "С запуска службы, {}.";
    NO_WEBHOOKS: "No webhook has arrived yet.", "Вебхуков ещё не было.";
    NO_SPACE: "unknown space", "пространство не прочитано";
    W_SIGNATURE: "the signature does not match the space's secret", "подпись не секретом пространства";
    W_SECRET: "the space's secret can't be read", "секрет пространства не читается";
    W_TOO_LARGE: "it is larger than an event can be", "больше, чем бывает событие";
    W_NOT_READ: "it did not arrive completely or in time", "пришло не вовремя или не целиком";
    W_MALFORMED: "it is not an event", "это не событие";
    W_NOT_KEPT: "it could not be written to the store", "хранилище не приняло";
    NOTIFICATIONS: "Notifications", "Уведомления";
    NOBODY_TOLD: "No notifications are sent because notify.url and notify.heartbeat_url are empty.", "О запусках никому не сообщается: notify.url и notify.heartbeat_url пусты.";
    NOTHING_SENT: "Nothing has been sent yet.", "Ещё ничего не отправлялось.";
    SEND_TEST: "Send a test notification", "Отправить пробное уведомление";
    DELIVERED: "delivered to {}, {}", "доставлено: {}, {}";
    NOT_DELIVERED: "not delivered to {}, {}:", "не доставлено: {}, {}:";
    MISSING_CSV: "What is missing, as CSV", "Чего не хватает, в CSV";

    // Runs.
    COMMAND: "Command", "Команда";
    OUTCOME: "Outcome", "Итог";
    O_RUNNING: "running", "идёт";
    O_DONE: "done", "выполнено";
    O_KILLED: "broke off", "оборвался";
    O_CANCELLED: "cancelled", "отменён";
    O_PARTIAL: "done in part", "выполнено частично";
    O_NOTHING: "nothing done", "ничего не сделано";
    DATES: "Dates", "Даты";
    TOOK: "Took", "Заняло";
    LANDED_OF: "{} landed, {} in the lake", "загружено {}, в озере {}";
    REQUESTS: "Requests", "Запросы";
    WRITES: "Objects written or removed", "Записано или удалено объектов";
    DAYS_BUILT: "Days built", "Собрано дней";
    ROOMS_SKIPPED: "Rooms skipped without a request", "Комнат без запросов";
    RETRIES: "Retried requests", "Повторных запросов";
    PROBLEMS: "Failed / pending / warnings", "Ошибки / ждём / предупреждения";
    ALL_RUNS: "All runs", "Все запуски";
    RUN_FAILED: "Failed in this run", "Ошибки этого запуска";
    RUN_PENDING: "Not ready yet at the end of the run", "Чего к концу запуска ещё не было";
    RUN_WARNINGS: "Warnings", "Стоит внимания";
    INTERRUPTED: "It was stopped before it had finished.", "Остановлен до завершения.";
    LOG: "Log", "Журнал";
    NO_LINES: "The run wrote no log lines.", "Запуск ничего не записал.";
    KIND: "Kind", "Вид";
    WHERE: "Where", "Где";
    MESSAGE: "What happened", "Что произошло";
    NUMBERS: "Numbers", "Показатели";
    SHOWN_OF: "{} of {} are shown; all are in {}", "показано {} из {}; все — в {}";
}

#[rustfmt::skip]
counts! {
    N_CALLS: ["{} call", "{} calls"], ["{} звонок", "{} звонка", "{} звонков"];
    N_REPORTS: ["{} report", "{} reports"], ["{} отчёт", "{} отчёта", "{} отчётов"];
    N_RECORDINGS: ["{} recording", "{} recordings"], ["{} запись", "{} записи", "{} записей"];
    N_PARTICIPANTS: ["{} participant", "{} participants"], ["{} участник", "{} участника", "{} участников"];
    N_MISSING: ["{} thing is missing", "{} things are missing"], ["не хватает {} позиции", "не хватает {} позиций", "не хватает {} позиций"];
    N_SPACES: ["{} space", "{} spaces"], ["{} пространство", "{} пространства", "{} пространств"];
    N_ROOMS: ["{} room", "{} rooms"], ["{} комната", "{} комнаты", "{} комнат"];
    N_EVENTS: ["{} event waits", "{} events wait"], ["{} событие ждёт", "{} события ждут", "{} событий ждут"];
    N_WHOLE_SPACES: ["{} space without problems", "{} spaces without problems"], ["{} пространство без замечаний", "{} пространства без замечаний", "{} пространств без замечаний"];
    C_ROOMS: ["{} room could not be listed", "{} rooms could not be listed"], ["{} комнату опросить не удалось", "{} комнаты опросить не удалось", "{} комнат опросить не удалось"];
    C_REPORTS: ["{} report is not ready yet", "{} reports are not ready yet"], ["{} отчёт ещё не готов", "{} отчёта ещё не готовы", "{} отчётов ещё не готовы"];
    C_RECORDINGS: ["{} recording is not ready yet", "{} recordings are not ready yet"], ["{} запись ещё не готова", "{} записи ещё не готовы", "{} записей ещё не готовы"];
    C_CALLS: ["{} call has not settled yet", "{} calls have not settled yet"], ["{} звонок ещё не завершён", "{} звонка ещё не завершены", "{} звонков ещё не завершены"];
    C_UNLISTED: ["{} space was not listed for the whole date", "{} spaces were not listed for the whole date"], ["{} пространство опрошено не за всю дату", "{} пространства опрошены не за всю дату", "{} пространств опрошено не за всю дату"];
    C_LOST: ["{} thing did not come in time", "{} things did not come in time"], ["{} позиция не пришла в срок", "{} позиции не пришли в срок", "{} позиций не пришло в срок"];
    LASTS: ["enough for about {} day", "enough for about {} days"], ["хватит примерно на {} день", "хватит примерно на {} дня", "хватит примерно на {} дней"];
    N_BEFORE: ["{} before it", "{} before it"], ["перед ним {}", "перед ним {}", "перед ним {}"];
    LINES_LEFT_OUT: ["{} earlier line is left out", "{} earlier lines are left out"], ["пропущена {} строка до этого", "пропущено {} строки до этого", "пропущено {} строк до этого"];
    N_META: ["{} payload waits for the API", "{} payloads wait for the API"], ["{} запись ждёт передачи в API", "{} записи ждут передачи в API", "{} записей ждут передачи в API"];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_russian(text: &str) -> bool {
        text.chars()
            .any(|c| ('а'..='я').contains(&c.to_ascii_lowercase()) || ('А'..='Я').contains(&c))
    }

    fn gaps(text: &str) -> usize {
        text.matches("{}").count()
    }

    #[test]
    fn both_languages_have_every_text() {
        assert!(TEXTS.len() > 100);
        for (name, text) in TEXTS {
            assert!(!text.en.is_empty() && !text.ru.is_empty(), "{name}");
            assert!(!is_russian(text.en), "{name} is not English");
            assert_eq!(gaps(text.en), gaps(text.ru), "{name}");
            // Only a text of nothing but gaps is the same in both.
            let words = text.ru.replace("{}", "");
            let is_words = words.chars().any(char::is_alphabetic);
            assert!(is_russian(text.ru) || !is_words, "{name} is not Russian");
        }
        for (name, text) in COUNTS {
            for form in text.en {
                assert!(gaps(form) == 1 && !is_russian(form), "{name}: {form}");
            }
            for form in text.ru {
                assert!(gaps(form) == 1 && is_russian(form), "{name}: {form}");
            }
        }
    }
}
