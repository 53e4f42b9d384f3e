//! Names that systems give to the fields of people, messages, reactions and polls, in English and Russian. Pure data: `check`
//! suggests mappings with it, and nothing is read by it.
//!
//! A name is compared without case, spaces and punctuation: `join_time`, `Join Time` and `joinTime` are `jointime`.

use super::value_shape::Sort;

/// A column, the names of fields that may feed it, and the sorts of their values.
#[derive(Debug)]
pub(crate) struct ColumnWords {
    /// The column.
    pub column: &'static str,
    /// Folded names, the best first.
    pub names: &'static [&'static str],
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
    pub lists: &'static [&'static str],
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

const fn words(column: &'static str, sorts: &'static [Sort], names: &'static [&'static str]) -> ColumnWords {
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
    &[
        "joinedat",
        "jointime",
        "joined",
        "join",
        "joindate",
        "joindatetime",
        "joinat",
        "enteredat",
        "entertime",
        "entrytime",
        "entered",
        "enter",
        "connectedat",
        "connecttime",
        "connectiontime",
        "connected",
        "loginat",
        "logintime",
        "startedat",
        "starttime",
        "startat",
        "started",
        "start",
        "startdate",
        "beginat",
        "begintime",
        "begin",
        "from",
        "in",
        "intime",
        "timein",
        "timestart",
        "вход",
        "времявхода",
        "датавхода",
        "вошел",
        "подключение",
        "времяподключения",
        "подключился",
        "зашел",
        "пришел",
        "начало",
        "времяначала",
    ],
);
/// The end of a stay.
pub(crate) const LEFT: ColumnWords = words(
    "left_at",
    TIMES,
    &[
        "leftat",
        "leavetime",
        "left",
        "leave",
        "leavedate",
        "leavedatetime",
        "leaveat",
        "exitedat",
        "exittime",
        "exitat",
        "exited",
        "exit",
        "disconnectedat",
        "disconnecttime",
        "disconnected",
        "logoutat",
        "logouttime",
        "endedat",
        "endtime",
        "endat",
        "ended",
        "end",
        "enddate",
        "finishedat",
        "finishtime",
        "finishat",
        "finished",
        "finish",
        "to",
        "until",
        "out",
        "outtime",
        "timeout",
        "timeend",
        "выход",
        "времявыхода",
        "датавыхода",
        "вышел",
        "отключение",
        "времяотключения",
        "отключился",
        "ушел",
        "конец",
        "окончание",
        "времяокончания",
    ],
);
/// The length of a stay.
pub(crate) const LENGTH: ColumnWords = words(
    "duration_s",
    LENGTHS,
    &[
        "duration",
        "durations",
        "durationseconds",
        "durationsec",
        "durationsecs",
        "durationms",
        "durationmin",
        "durationminutes",
        "attendanceduration",
        "attendancedurationinseconds",
        "timeinmeeting",
        "timeinsession",
        "totaltime",
        "totalduration",
        "length",
        "длительность",
        "продолжительность",
        "времявкомнате",
        "времявконференции",
        "времяучастия",
    ],
);
/// The time of an event of joining or leaving.
pub(crate) const EVENT_AT: ColumnWords = words(
    "at",
    TIMES,
    &[
        "at",
        "time",
        "timestamp",
        "ts",
        "date",
        "datetime",
        "eventtime",
        "occurredat",
        "happenedat",
        "createdat",
        "when",
        "время",
        "дата",
    ],
);
/// The person of such an event, or of a session in a list of its own.
pub(crate) const OWNER: ColumnWords = words(
    "key",
    IDS,
    &[
        "participantid",
        "userid",
        "uid",
        "memberid",
        "attendeeid",
        "personid",
        "participant",
        "user",
        "member",
        "attendee",
        "peerid",
        "id",
        "idучастника",
        "idпользователя",
    ],
);
/// The start and the end of a call at the top of a report.
pub(crate) const CALL_START: &[&str] = &[
    "startedat",
    "starttime",
    "start",
    "started",
    "startdate",
    "beginat",
];
/// See [`CALL_START`].
pub(crate) const CALL_END: &[&str] = &[
    "finishedat",
    "endedat",
    "endtime",
    "finishtime",
    "end",
    "ended",
    "finished",
    "enddate",
];

/// The parts of a name, in the order in which they are joined.
pub(crate) const NAME_PARTS: [&[&str]; 3] = [
    &["lastname", "surname", "familyname", "secondname", "фамилия"],
    &["firstname", "givenname", "имя"],
    &["middlename", "patronymic", "отчество"],
];

/// The tables whose mapping can be suggested, participants first.
pub(crate) static TABLES: [TableWords; 5] = [
    TableWords {
        table: "participants",
        lists: &[
            "participants",
            "attendees",
            "users",
            "members",
            "people",
            "persons",
            "visitors",
            "students",
            "guests",
            "attendance",
            "participantlist",
            "userlist",
            "attendancerecords",
            "listeners",
            "viewers",
            "peers",
            "участники",
            "участникизвонка",
            "посещаемость",
            "ученики",
            "слушатели",
            "посетители",
            "пользователи",
        ],
        columns: &[
            words(
                "participant_id",
                IDS,
                &[
                    "participantid",
                    "id",
                    "userid",
                    "uid",
                    "memberid",
                    "attendeeid",
                    "personid",
                    "participantuuid",
                    "useruuid",
                    "uuid",
                    "guid",
                    "peerid",
                    "idучастника",
                ],
            ),
            words(
                "name",
                NAMES,
                &[
                    "name",
                    "fullname",
                    "displayname",
                    "username",
                    "participantname",
                    "attendeename",
                    "nameoriginalname",
                    "nick",
                    "nickname",
                    "fio",
                    "userfullname",
                    "имя",
                    "фио",
                    "имяучастника",
                    "участник",
                    "полноеимя",
                    "имяпользователя",
                    "ученик",
                    "фамилияимя",
                    "слушатель",
                    "студент",
                    "пользователь",
                ],
            ),
            words(
                "role",
                LABELS,
                &[
                    "role",
                    "participantrole",
                    "userrole",
                    "usertype",
                    "participanttype",
                    "kind",
                    "ismoderator",
                    "ishost",
                    "isorganizer",
                    "isteacher",
                    "moderator",
                    "isowner",
                    "type",
                    "роль",
                    "тип",
                ],
            ),
            ColumnWords {
                column: "email",
                names: &[
                    "email",
                    "emailaddress",
                    "useremail",
                    "mail",
                    "почта",
                    "электроннаяпочта",
                    "элпочта",
                    "адресэлпочты",
                ],
                sorts: &[Sort::Email],
                by_sort: true,
            },
            ColumnWords {
                column: "phone",
                names: &[
                    "phone",
                    "phonenumber",
                    "telephone",
                    "tel",
                    "mobile",
                    "mobilephone",
                    "cellphone",
                    "msisdn",
                    "телефон",
                    "номертелефона",
                    "мобильный",
                    "тел",
                ],
                sorts: &[Sort::Phone],
                by_sort: true,
            },
            words(
                "external_user_id",
                IDS,
                &[
                    "externaluserid",
                    "externalid",
                    "extid",
                    "extuserid",
                    "lmsuserid",
                    "lmsid",
                    "customerkey",
                    "customerid",
                    "studentid",
                    "pupilid",
                    "registrantid",
                    "clientid",
                    "foreignid",
                    "schoolid",
                    "externaluser",
                    "lmsuser",
                    "externalkey",
                    "внешнийid",
                    "idпользователя",
                    "idученика",
                    "кодученика",
                    "код",
                    "внешнийidпользователя",
                ],
            ),
            words(
                "external_meeting_id",
                IDS,
                &[
                    "externalmeetingid",
                    "lmsmeetingid",
                    "externallessonid",
                    "lessonid",
                    "lmslessonid",
                    "lmslesson",
                    "externalmeeting",
                    "extmeetingid",
                    "extlessonid",
                    "classid",
                    "eventid",
                    "idвстречи",
                    "idурока",
                    "кодурока",
                ],
            ),
            words(
                "camera_s",
                LENGTHS,
                &[
                    "cameraseconds",
                    "cameratime",
                    "cameraduration",
                    "camerasec",
                    "camerams",
                    "cameraon",
                    "cameraontime",
                    "camera",
                    "videoseconds",
                    "videotime",
                    "videoduration",
                    "videosec",
                    "videoms",
                    "webcamtime",
                    "webcam",
                    "video",
                    "cam",
                    "камера",
                    "времякамеры",
                    "времяскамерой",
                    "камеравключена",
                ],
            ),
            words(
                "microphone_s",
                LENGTHS,
                &[
                    "microphoneseconds",
                    "microphonetime",
                    "microphoneduration",
                    "microphonems",
                    "micseconds",
                    "mictime",
                    "micduration",
                    "micms",
                    "microphone",
                    "mic",
                    "audioseconds",
                    "audiotime",
                    "audioduration",
                    "audioms",
                    "talktime",
                    "talkduration",
                    "speakingtime",
                    "speakingseconds",
                    "voicetime",
                    "audio",
                    "микрофон",
                    "времямикрофона",
                    "времясмикрофоном",
                    "микрофонвключен",
                ],
            ),
            words(
                "screen_s",
                LENGTHS,
                &[
                    "screenseconds",
                    "screentime",
                    "screenduration",
                    "screenms",
                    "screenshareseconds",
                    "screensharetime",
                    "screensharingtime",
                    "screensharingseconds",
                    "screenshare",
                    "screensharing",
                    "screen",
                    "sharingtime",
                    "экран",
                    "демонстрацияэкрана",
                    "демонстрация",
                ],
            ),
            words(
                "messages_count",
                COUNTS,
                &[
                    "messagescount",
                    "messagecount",
                    "chatmessagescount",
                    "chatmessages",
                    "chatcount",
                    "messages",
                    "messagessent",
                    "chat",
                    "сообщения",
                    "сообщений",
                    "количествосообщений",
                    "сообщенийвчате",
                ],
            ),
            words(
                "reactions_count",
                COUNTS,
                &[
                    "reactionscount",
                    "reactioncount",
                    "reactions",
                    "emojicount",
                    "emojis",
                    "likes",
                    "smiles",
                    "реакции",
                    "реакций",
                    "количествореакций",
                ],
            ),
            words(
                "hand_raises_count",
                COUNTS,
                &[
                    "handraisescount",
                    "handraises",
                    "handraisecount",
                    "raisedhands",
                    "raisedhandscount",
                    "handsraised",
                    "raisehand",
                    "raisehandcount",
                    "hands",
                    "поднятыхрук",
                    "поднятиярук",
                    "поднималруку",
                    "рук",
                ],
            ),
        ],
    },
    TableWords {
        table: "messages",
        lists: &[
            "messages",
            "chat",
            "chatmessages",
            "chatlog",
            "chathistory",
            "comments",
            "posts",
            "чат",
            "сообщения",
            "сообщениячата",
        ],
        columns: &[
            words("message_id", IDS, &["messageid", "id", "msgid", "uuid", "key"]),
            words("participant_id", IDS, AUTHORS),
            words(
                "participant_name",
                NAMES,
                &[
                    "sendername",
                    "authorname",
                    "participantname",
                    "username",
                    "name",
                    "fromname",
                    "author",
                    "sender",
                    "from",
                    "имя",
                    "автор",
                    "отправитель",
                    "участник",
                    "фио",
                ],
            ),
            words(
                "sent_at",
                TIMES,
                &[
                    "sentat",
                    "createdat",
                    "senttime",
                    "time",
                    "timestamp",
                    "datetime",
                    "date",
                    "at",
                    "ts",
                    "sent",
                    "created",
                    "postedat",
                    "время",
                    "дата",
                    "отправлено",
                    "датаивремя",
                    "времяотправки",
                ],
            ),
            words(
                "text",
                TEXTS,
                &[
                    "text",
                    "message",
                    "body",
                    "content",
                    "msg",
                    "messagetext",
                    "comment",
                    "сообщение",
                    "текст",
                    "текстсообщения",
                ],
            ),
        ],
    },
    TableWords {
        table: "reactions",
        lists: &[
            "reactions",
            "emojis",
            "emoji",
            "smiles",
            "likes",
            "emotions",
            "реакции",
        ],
        columns: &[
            words("participant_id", IDS, AUTHORS),
            words(
                "type",
                LABELS,
                &[
                    "type",
                    "reaction",
                    "emoji",
                    "kind",
                    "code",
                    "smile",
                    "name",
                    "emotion",
                    "реакция",
                    "тип",
                ],
            ),
            words(
                "sent_at",
                TIMES,
                &[
                    "sentat",
                    "createdat",
                    "time",
                    "timestamp",
                    "at",
                    "ts",
                    "date",
                    "created",
                    "время",
                    "дата",
                ],
            ),
        ],
    },
    TableWords {
        table: "poll_votes",
        lists: &[
            "votes",
            "answers",
            "responses",
            "voters",
            "results",
            "голоса",
            "ответы",
        ],
        columns: &[
            words("participant_id", IDS, AUTHORS),
            words(
                "option_id",
                IDS,
                &[
                    "optionid",
                    "option",
                    "choiceid",
                    "answerid",
                    "variantid",
                    "choice",
                ],
            ),
            words(
                "answer_text",
                TEXTS,
                &["answer", "answertext", "text", "response", "value", "ответ"],
            ),
            words(
                "voted_at",
                TIMES,
                &[
                    "votedat",
                    "createdat",
                    "answeredat",
                    "time",
                    "timestamp",
                    "at",
                    "ts",
                    "date",
                    "время",
                    "дата",
                ],
            ),
        ],
    },
    TableWords {
        table: "polls",
        lists: &[
            "polls",
            "quizzes",
            "questions",
            "surveys",
            "votings",
            "tests",
            "опросы",
            "вопросы",
            "голосования",
        ],
        columns: &[
            words(
                "poll_id",
                IDS,
                &["pollid", "id", "quizid", "questionid", "uuid", "key"],
            ),
            words(
                "question",
                TEXTS,
                &[
                    "question",
                    "title",
                    "text",
                    "name",
                    "questiontext",
                    "topic",
                    "вопрос",
                    "тема",
                ],
            ),
        ],
    },
];

const AUTHORS: &[&str] = &[
    "participantid",
    "userid",
    "senderid",
    "authorid",
    "fromid",
    "uid",
    "memberid",
    "attendeeid",
    "personid",
    "who",
    "from",
    "sender",
    "author",
    "user",
    "participant",
    "by",
];

/// Words of joining in a list of events, folded.
const JOIN_WORDS: &[&str] = &[
    "join",
    "joined",
    "joinedevent",
    "participantjoined",
    "userjoined",
    "joinroom",
    "enter",
    "entered",
    "connect",
    "connected",
    "login",
    "in",
    "вход",
    "вошел",
    "подключился",
    "подключение",
];
/// Words of leaving.
const LEAVE_WORDS: &[&str] = &[
    "leave",
    "left",
    "participantleft",
    "userleft",
    "leaveroom",
    "exit",
    "exited",
    "disconnect",
    "disconnected",
    "logout",
    "out",
    "выход",
    "вышел",
    "отключился",
    "отключение",
];

/// A name without case, spaces and punctuation.
pub(crate) fn fold(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ё' { 'е' } else { c })
        .collect()
}

/// True if a value is a word of joining.
pub(crate) fn is_join(text: &str) -> bool {
    text.len() <= 40 && JOIN_WORDS.contains(&fold(text).as_str())
}

/// True if a value is a word of leaving.
pub(crate) fn is_leave(text: &str) -> bool {
    text.len() <= 40 && LEAVE_WORDS.contains(&fold(text).as_str())
}

#[cfg(test)]
mod tests {
    use crate::lake::table::builtin;

    use super::*;

    #[test]
    fn all_words_are_folded_and_all_columns_exist() {
        for table in &TABLES {
            let built_in = builtin::get(table.table).expect(table.table);
            for list in table.lists {
                assert_eq!(fold(list), *list);
            }
            for column in table.columns {
                assert!(
                    built_in.index(column.column).is_some(),
                    "{}.{}",
                    table.table,
                    column.column
                );
                for name in column.names {
                    assert_eq!(fold(name).replace('ё', "е"), name.replace('ё', "е"), "{name}");
                }
            }
        }
        for words in [JOIN_WORDS, LEAVE_WORDS].into_iter().flatten() {
            assert_eq!(fold(words), *words);
        }
        assert_eq!(fold("Join Time, (UTC)"), "jointimeutc");
        assert!(is_join("JOINED") && is_leave("participant_left") && !is_join("message"));
    }
}
