//! Names that systems give to the fields of people, messages, reactions and polls, in English and Russian. Pure data: `check`
//! suggests mappings with it, and nothing is read by it.
//!
//! A name is compared without case, spaces and punctuation: `join_time`, `Join Time` and `joinTime` are `jointime`.

use super::value_shape::{self, Sort};
use crate::lenient::Scalar;

/// Most characters of a name that is no data.
const MOST_NAME: usize = 60;

/// Words with spaces between them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WordList(&'static str);

impl WordList {
    /// The words.
    pub fn iter(self) -> impl Iterator<Item = &'static str> {
        self.0.split_whitespace()
    }

    /// The position of a word.
    pub fn position(self, word: &str) -> Option<usize> {
        self.iter().position(|known| known == word)
    }

    /// True if a word is among them.
    pub fn contains(self, word: &str) -> bool {
        self.position(word).is_some()
    }
}

/// A column, the names of fields that may feed it, and the sorts of their values.
#[derive(Debug)]
pub(crate) struct ColumnWords {
    /// The column.
    pub column: &'static str,
    /// Folded names, the best first.
    pub names: WordList,
    /// The sorts of values that fit.
    pub sorts: &'static [Sort],
    /// True if the sort alone is reason enough.
    pub by_sort: bool,
}

/// A table, names of lists of its rows, and its columns.
#[derive(Debug)]
pub(crate) struct TableWords {
    /// The table.
    pub table: &'static str,
    /// Folded names of lists.
    pub lists: WordList,
    /// Its columns.
    pub columns: &'static [ColumnWords],
}

const IDS: &[Sort] = &[Sort::Id, Sort::Number, Sort::Word, Sort::Phone];
const TIMES: &[Sort] = &[Sort::Instant, Sort::OtherInstant];
const LENGTHS: &[Sort] = &[Sort::Number, Sort::Duration];
const COUNTS: &[Sort] = &[Sort::Number];
const TEXTS: &[Sort] = &[Sort::Text, Sort::Name, Sort::Word, Sort::Url];
const NAMES: &[Sort] = &[Sort::Name, Sort::Word, Sort::Text];
const LABELS: &[Sort] = &[Sort::Word, Sort::Truth, Sort::Text, Sort::Name];

const fn words(column: &'static str, sorts: &'static [Sort], names: WordList) -> ColumnWords {
    ColumnWords {
        column,
        names,
        sorts,
        by_sort: false,
    }
}

/// The start of a stay, as a field of a person or of a session.
pub(crate) const JOINED: ColumnWords = words(
    "joined_at",
    TIMES,
    WordList(
        "joinedat jointime joined join joindate joindatetime joinat enteredat entertime entrytime entered \
            enter connectedat connecttime connectiontime connected loginat logintime startedat starttime startat \
            started start startdate beginat begintime begin from in intime timein timestart вход времявхода \
            датавхода вошел подключение времяподключения подключился зашел пришел начало времяначала",
    ),
);
/// The end of a stay.
pub(crate) const LEFT: ColumnWords = words(
    "left_at",
    TIMES,
    WordList(
        "leftat leavetime left leave leavedate leavedatetime leaveat exitedat exittime exitat exited exit \
            disconnectedat disconnecttime disconnected logoutat logouttime endedat endtime endat ended end \
            enddate finishedat finishtime finishat finished finish to until out outtime timeout timeend выход \
            времявыхода датавыхода вышел отключение времяотключения отключился ушел конец окончание \
            времяокончания",
    ),
);
/// The length of a stay.
pub(crate) const LENGTH: ColumnWords = words(
    "duration_s",
    LENGTHS,
    WordList(
        "duration durations durationseconds durationsec durationsecs durationms durationmin durationminutes \
            attendanceduration attendancedurationinseconds timeinmeeting timeinsession totaltime totalduration \
            length длительность продолжительность времявкомнате времявконференции времяучастия",
    ),
);
/// The time of an event of joining or leaving.
pub(crate) const EVENT_AT: ColumnWords = words(
    "at",
    TIMES,
    WordList("at time timestamp ts date datetime eventtime occurredat happenedat createdat when время дата"),
);
/// The person of such an event, or of a session in a list of its own.
pub(crate) const OWNER: ColumnWords = words(
    "key",
    IDS,
    WordList(
        "participantid userid uid memberid attendeeid personid participant user member attendee peerid id \
            idучастника idпользователя",
    ),
);
/// The start and the end of a call at the top of a report.
pub(crate) const CALL_START: WordList = WordList(
    "startedat starttime start started startdate startdatetime beginat begin openedat opened meetingstart meetingstartdatetime",
);
/// See [`CALL_START`].
pub(crate) const CALL_END: WordList = WordList(
    "finishedat endedat endtime finishtime end ended finished enddate enddatetime closedat closed meetingend meetingenddatetime",
);

/// The parts of a name, in the order in which they are joined.
pub(crate) const NAME_PARTS: [WordList; 3] = [
    WordList("lastname surname familyname family secondname last фамилия"),
    WordList("firstname givenname given forename first имя"),
    WordList("middlename patronymic middle отчество"),
];

/// Parts of the names of fields and of the objects around them that say that an id is of another system.
const OTHER_SYSTEMS: WordList =
    WordList("lms crm ext external foreign client customer student pupil school ученик внешн");

/// True if a field's name, or that of the object around it, says that its id is of another system.
pub(crate) fn is_of_other_system(full: &str) -> bool {
    OTHER_SYSTEMS.iter().any(|word| full.contains(word))
}

/// The tables whose mapping can be suggested, participants first.
pub(crate) static TABLES: [TableWords; 5] = [
    TableWords {
        table: "participants",
        lists: WordList(
            "participants attendees users members people persons visitors students guests attendance \
            participantlist userlist attendancerecords listeners viewers peers участники участникизвонка \
            посещаемость ученики слушатели посетители пользователи",
        ),
        columns: &[
            words(
                "participant_id",
                IDS,
                WordList(
                    "participantid id userid uid memberid attendeeid personid participantuuid useruuid uuid guid peerid \
            idучастника",
                ),
            ),
            words(
                "name",
                NAMES,
                WordList(
                    "name fullname displayname username participantname attendeename nameoriginalname nick nickname fio \
            userfullname имя фио имяучастника участник полноеимя имяпользователя ученик фамилияимя слушатель \
            студент пользователь",
                ),
            ),
            words(
                "role",
                LABELS,
                WordList(
                    "role participantrole userrole usertype participanttype kind ismoderator ishost isorganizer isteacher \
            moderator isowner type роль тип",
                ),
            ),
            ColumnWords {
                column: "email",
                names: WordList(
                    "email emailaddress useremail mail почта электроннаяпочта элпочта адресэлпочты",
                ),
                sorts: &[Sort::Email],
                by_sort: true,
            },
            ColumnWords {
                column: "phone",
                names: WordList(
                    "phone phonenumber telephone tel mobile mobilephone cellphone msisdn телефон номертелефона мобильный \
            тел",
                ),
                sorts: &[Sort::Phone],
                by_sort: true,
            },
            words(
                "external_user_id",
                IDS,
                WordList(
                    "externaluserid externalid extid extuserid lmsuserid lmsuid lmsid lmsstudentid lmslogin crmid customerkey customerid studentid pupilid \
            registrantid clientid foreignid schoolid externaluser lmsuser externalkey внешнийid idпользователя \
            idученика кодученика код внешнийidпользователя",
                ),
            ),
            words(
                "external_meeting_id",
                IDS,
                WordList(
                    "externalmeetingid lmsmeetingid externallessonid lessonid lmslessonid lmslesson externalmeeting \
            extmeetingid extlessonid lmsevent classid eventid idвстречи idурока кодурока",
                ),
            ),
            words(
                "camera_s",
                LENGTHS,
                WordList(
                    "cameraseconds cameratime cameraduration camerasec camerams cameraon cameraontime camera videoseconds \
            videotime videoduration videosec videoms webcamtime webcam video cam камера времякамеры \
            времяскамерой камеравключена",
                ),
            ),
            words(
                "microphone_s",
                LENGTHS,
                WordList(
                    "microphoneseconds microphonetime microphoneduration microphonems micseconds mictime micduration \
            micms microphone mic audioseconds audiotime audioduration audioms talktime talkduration speakingtime \
            speakingseconds voicetime audio микрофон времямикрофона времясмикрофоном микрофонвключен",
                ),
            ),
            words(
                "screen_s",
                LENGTHS,
                WordList(
                    "screenseconds screentime screenduration screenms screenshareseconds screensharetime \
            screensharingtime screensharingseconds screenshare screensharing screen sharingtime share sharetime sharing demo экран \
            демонстрацияэкрана демонстрация",
                ),
            ),
            words(
                "messages_count",
                COUNTS,
                WordList(
                    "messagescount messagecount msgs msgcount nmessages chatmessagescount chatmessages chatcount messages messagessent chat \
            сообщения сообщений количествосообщений сообщенийвчате",
                ),
            ),
            words(
                "reactions_count",
                COUNTS,
                WordList(
                    "reactionscount reactioncount reactions emojicount emojis likes smiles реакции реакций \
            количествореакций",
                ),
            ),
            words(
                "hand_raises_count",
                COUNTS,
                WordList(
                    "handraisescount handraises handraisecount raisedhands raisedhandscount handsraised raisehand \
            raisehandcount hands поднятыхрук поднятиярук поднималруку рук",
                ),
            ),
        ],
    },
    TableWords {
        table: "messages",
        lists: WordList(
            "messages chat chatmessages chatlog chathistory comments posts talk conversation dialog чат сообщения сообщениячата",
        ),
        columns: &[
            words(
                "message_id",
                IDS,
                WordList("messageid id msgid uuid key no number"),
            ),
            words("participant_id", IDS, AUTHORS),
            words(
                "participant_name",
                NAMES,
                WordList(
                    "sendername authorname participantname username name fromname author sender from имя автор \
            отправитель участник фио",
                ),
            ),
            words(
                "sent_at",
                TIMES,
                WordList(
                    "sentat createdat senttime time timestamp datetime date at ts sent created postedat when время дата \
            отправлено датаивремя времяотправки",
                ),
            ),
            words(
                "text",
                TEXTS,
                WordList("text message body content msg messagetext comment сообщение текст текстсообщения"),
            ),
        ],
    },
    TableWords {
        table: "reactions",
        lists: WordList("reactions emojis emoji smiles likes emotions реакции"),
        columns: &[
            words("participant_id", IDS, AUTHORS),
            words(
                "type",
                LABELS,
                WordList("type reaction emoji kind code smile name emotion реакция тип"),
            ),
            words(
                "sent_at",
                TIMES,
                WordList("sentat createdat time timestamp at ts date created when время дата"),
            ),
        ],
    },
    TableWords {
        table: "poll_votes",
        lists: WordList("votes answers responses voters results голоса ответы"),
        columns: &[
            words("participant_id", IDS, AUTHORS),
            words(
                "option_id",
                IDS,
                WordList("optionid option choiceid answerid variantid choice"),
            ),
            words(
                "answer_text",
                TEXTS,
                WordList("answer answertext text response value ответ"),
            ),
            words(
                "voted_at",
                TIMES,
                WordList("votedat createdat answeredat time timestamp at ts date when время дата"),
            ),
        ],
    },
    TableWords {
        table: "polls",
        lists: WordList("polls quizzes questions surveys votings tests опросы вопросы голосования"),
        columns: &[
            words("poll_id", IDS, WordList("pollid id quizid questionid uuid key")),
            words(
                "question",
                TEXTS,
                WordList("question title text name questiontext topic вопрос тема"),
            ),
        ],
    },
];

const AUTHORS: WordList = WordList(
    "participantid userid senderid authorid fromid uid memberid attendeeid personid who from sender \
            author user participant by",
);

/// Words of joining in a list of events, folded.
const JOIN_WORDS: WordList = WordList(
    "join joined joinedevent participantjoined userjoined joinroom enter entered connect connected login \
            in вход вошел подключился подключение",
);
/// Words of leaving.
const LEAVE_WORDS: WordList = WordList(
    "leave left participantleft userleft leaveroom exit exited disconnect disconnected logout out выход \
            вышел отключился отключение",
);

/// A name without case, spaces and punctuation.
pub(crate) fn fold(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ё' { 'е' } else { c })
        .collect()
}

/// Words that stand in the names of sheets and in headers beside those of [`TABLES`], folded.
const BESIDE: WordList = WordList(
    "урок урока занятие занятия звонок звонка встреча встречи вебинар вебинара конференция конференции лист \
            список отчет данные адрес в на по и с lesson class call meeting session webinar conference report list \
            sheet data summary details of by in the",
);
/// Most digits behind the words of a sheet's name, as in `Sheet12`.
const MOST_NUMBER: usize = 2;

/// True if a header or the name of a sheet has only words that systems give to fields, or that stand beside them.
pub(crate) fn is_known_phrase(text: &str) -> bool {
    let is_word = |word: &str| {
        let plain = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let folded = fold(plain);
        word.len() - plain.len() <= MOST_NUMBER
            && (folded.is_empty() || BESIDE.contains(&folded) || is_known(plain))
    };
    let has_letters = text.chars().any(char::is_alphabetic);
    is_known(text) || (has_letters && are_plain(text) && text.split_whitespace().all(is_word))
}

/// True if a text has no characters that [`fold`] drops without a trace, but for ASCII punctuation and spaces.
fn are_plain(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || c.is_ascii_punctuation() || " \u{a0}\t\n№".contains(c);
    text.chars().count() <= MOST_NAME && text.chars().all(is_plain)
}

/// True if a name is one that systems give to fields.
pub(crate) fn is_known(name: &str) -> bool {
    if !are_plain(name) {
        return false;
    }
    let name = fold(name);
    let name = name.as_str();
    let in_table = |table: &TableWords| {
        table.lists.contains(name) || table.columns.iter().any(|column| column.names.contains(name))
    };
    let others = [JOINED, LEFT, LENGTH, EVENT_AT, OWNER];
    TABLES.iter().any(in_table)
        || CALL_START.contains(name)
        || CALL_END.contains(name)
        || others.iter().any(|column| column.names.contains(name))
        || NAME_PARTS.iter().any(|names| names.contains(name))
}

/// Last words of the names of times.
const TIME_ENDS: WordList = WordList("at time date datetime timestamp ts epoch когда время дата");
/// Words that may follow them.
const TIME_UNITS: WordList = WordList("ms millis milliseconds s sec secs seconds utc unix local");
/// Names of times that may also be those of people, ids and telephone numbers.
const NOT_SURELY_TIMES: WordList = WordList("from to in out");

/// True if a field's name says for certain that its values are times: `joinedAt`, `start_time`, `timestampMs`, `Дата`.
pub(crate) fn is_time(name: &str) -> bool {
    let mut words: Vec<String> = Vec::new();
    let mut is_in_word = false;
    let mut was_lowercase = false;
    for c in name.chars() {
        if c.is_alphabetic() {
            if !is_in_word || (was_lowercase && c.is_uppercase()) {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        (is_in_word, was_lowercase) = (c.is_alphabetic(), c.is_lowercase());
    }
    while words.len() > 1 && words.last().is_some_and(|word| TIME_UNITS.contains(word)) {
        words.pop();
    }
    let name = words.concat();
    let in_list = [&JOINED, &LEFT, &EVENT_AT]
        .iter()
        .any(|column| column.names.contains(&name))
        || CALL_START.contains(&name)
        || CALL_END.contains(&name);
    words.last().is_some_and(|word| TIME_ENDS.contains(word))
        || name.ends_with("timestamp")
        || (in_list && !NOT_SURELY_TIMES.contains(&name))
}

/// True if the name of a field, of a sheet's column or of a sheet may be data: an id, an address, the name of a person.
pub(crate) fn may_be_data(name: &str) -> bool {
    let digits = name.chars().filter(char::is_ascii_digit).count();
    let sort = value_shape::sort(Scalar::Text(name));
    let is_odd = match sort {
        // `level1` and `ipv4` are names of fields.
        Some(Sort::Id) => false,
        Some(Sort::Name) => true,
        sort => sort.is_some_and(Sort::is_surely_data),
    };
    let is_long = name.is_empty() || name.chars().count() > MOST_NAME;
    (is_odd || is_long || digits > 4 || name.starts_with(|c: char| c.is_numeric())) && !is_known(name)
}

/// True if a value is a word of joining.
pub(crate) fn is_join(text: &str) -> bool {
    text.len() <= 40 && are_plain(text) && JOIN_WORDS.contains(&fold(text))
}

/// True if a value is a word of leaving.
pub(crate) fn is_leave(text: &str) -> bool {
    text.len() <= 40 && are_plain(text) && LEAVE_WORDS.contains(&fold(text))
}

#[cfg(test)]
mod tests {
    use crate::lake::table::builtin;

    use super::*;

    #[test]
    fn all_words_are_folded_and_all_columns_exist() {
        for table in &TABLES {
            let built_in = builtin::get(table.table).expect(table.table);
            for list in table.lists.iter() {
                assert_eq!(fold(list), list);
            }
            for column in table.columns {
                assert!(
                    built_in.index(column.column).is_some(),
                    "{}.{}",
                    table.table,
                    column.column
                );
                for name in column.names.iter() {
                    assert_eq!(fold(name).replace('ё', "е"), name.replace('ё', "е"), "{name}");
                }
            }
        }
        for word in [JOIN_WORDS, LEAVE_WORDS].into_iter().flat_map(WordList::iter) {
            assert_eq!(fold(word), word);
        }
        for name in [
            "cameraSeconds",
            "Full Name",
            "Join time",
            "ФИО",
            "level1",
            "e-mail",
            "Роль в уроке",
        ] {
            assert!(!may_be_data(name), "{name}");
        }
        for name in [
            "64ab00000000000000000001",
            "a@b.ru",
            "Иван Петров",
            "2026-11-22",
            "17",
            "",
            "u1234567",
        ] {
            assert!(may_be_data(name), "{name}");
        }
        for name in [
            "Участники",
            "Ученики урока",
            "Sheet12",
            "Лист 1",
            "Chat of the lesson",
        ] {
            assert!(is_known_phrase(name), "{name}");
        }
        for name in ["Иванов", "Имя ⠊⠧⠁⠝", "Урок Иванова", "17", "", "Sheet123"] {
            assert!(!is_known_phrase(name), "{name}");
        }
        for name in [
            "joinedAt",
            "start_time",
            "timestampMs",
            "Дата",
            "jointime",
            "$date",
            "ts",
            "Время входа",
            "end",
        ] {
            assert!(is_time(name), "{name}");
        }
        for name in [
            "chat",
            "candidate",
            "from",
            "phone",
            "id",
            "format",
            "",
            "timezone",
        ] {
            assert!(!is_time(name), "{name}");
        }
        assert_eq!(fold("Join Time, (UTC)"), "jointimeutc");
        // Suggestions print these words.
        assert!(!is_join("JOINED ⠊⠧⠁⠝") && !is_leave("left \u{e000}"));
        assert!(is_join("JOINED") && is_leave("participant_left") && !is_join("message"));
    }
}
