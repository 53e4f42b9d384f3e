-- late_s of a participant is at least 0
SELECT count(*) FROM participants WHERE late_s < 0;
-- late_s of a participant is only in one row of a user and meeting
SELECT count(*) FROM (SELECT 1 FROM participants WHERE late_s IS NOT NULL AND external_user_id IS NOT NULL AND external_meeting_id IS NOT NULL
    GROUP BY external_meeting_id, external_user_id HAVING count(*) > 1);
-- duration_s is not longer than from the first join to the last leave
SELECT count(*) FROM participants WHERE duration_s > epoch(last_left_at - first_joined_at) + 0.001 OR duration_s < 0;
-- sessions_count is the number of sessions
SELECT count(*) FROM participants WHERE sessions_count IS DISTINCT FROM len(sessions);
-- source is json or xlsx, and identity is the name of a field
SELECT count(*) FROM participants WHERE source NOT IN ('json', 'xlsx') OR source IS NULL
    OR identity NOT IN ('id', 'external_user_id', 'email', 'phone', 'name');
-- a message, a reaction and a vote have the meeting of their participant
SELECT count(*) FROM (
    SELECT call_id, participant_id, external_meeting_id FROM messages
    UNION ALL SELECT call_id, participant_id, external_meeting_id FROM reactions
    UNION ALL SELECT call_id, participant_id, external_meeting_id FROM poll_votes
) AS said JOIN participants AS p USING (call_id, participant_id)
WHERE said.external_meeting_id IS DISTINCT FROM p.external_meeting_id;
-- votes_count is the number of the poll's rows in poll_votes
SELECT count(*) FROM polls LEFT JOIN (SELECT call_id, poll_id, count(*) AS votes FROM poll_votes GROUP BY ALL) USING (call_id, poll_id)
WHERE votes_count IS DISTINCT FROM coalesce(votes, 0);
-- an option voted for is an option of the poll
SELECT count(*) FROM poll_votes AS v JOIN polls USING (call_id, poll_id)
WHERE v.option_id IS NOT NULL AND NOT list_contains(list_transform(options, lambda option: option.option_id), v.option_id);
-- the status of a recording is one of six, and bytes, sha256 and uri are there if it is done
SELECT count(*) FROM recordings WHERE status NOT IN ('done', 'pending', 'failed', 'unavailable', 'lost')
    OR (status = 'done') <> (bytes IS NOT NULL AND sha256 IS NOT NULL AND uri IS NOT NULL AND error IS NULL);
-- a recording has the meetings of its call
SELECT count(*) FROM recordings AS r LEFT JOIN calls AS c USING (space_id, call_id)
WHERE r.external_meeting_ids IS DISTINCT FROM c.external_meeting_ids;
-- external_meeting_ids of a call are those of its participants
SELECT count(*) FROM calls AS c LEFT JOIN (
    SELECT call_id, list_sort(list_distinct(list(external_meeting_id))) AS meetings FROM participants GROUP BY call_id
) USING (call_id) WHERE c.external_meeting_ids <> coalesce(meetings, []);
-- shares of attendance are between 0 and 1
SELECT count(*) FROM lesson_attendance WHERE attended_share NOT BETWEEN 0 AND 1 OR in_lesson_share NOT BETWEEN 0 AND 1;
-- the time within the schedule is a part of the time in the calls, and no longer than the schedule
SELECT count(*) FROM lesson_attendance WHERE in_lesson_s NOT BETWEEN 0 AND duration_s + 0.001
    OR in_lesson_s > epoch(lesson_scheduled_end_at - lesson_scheduled_start_at) + 0.001;
-- in_lesson_s is null without a schedule, and in_lesson_share exactly then
SELECT count(*) FROM lesson_attendance WHERE (in_lesson_s IS NULL) <> (in_lesson_share IS NULL)
    OR (in_lesson_s IS NOT NULL AND lesson_scheduled_end_at IS NULL);
-- late_s and left_early_s of attendance are at least 0
SELECT count(*) FROM lesson_attendance WHERE late_s < 0 OR left_early_s < 0;
-- who attended has calls and a first join; who did not has none
SELECT count(*) FROM lesson_attendance WHERE attended IS DISTINCT FROM (len(call_ids) > 0) AND attended IS NOT NULL;
-- nobody is absent while a call of the meeting has no report
SELECT count(*) FROM lesson_attendance WHERE NOT attended AND calls_without_report > 0;
-- each teacher has a name, and all rows of a meeting have the same teachers
SELECT count(*) FROM lesson_attendance AS a JOIN (
    SELECT external_meeting_id, count(DISTINCT teacher_ids) AS lists FROM lesson_attendance GROUP BY ALL
) USING (external_meeting_id) WHERE len(teacher_ids) IS DISTINCT FROM len(teacher_names) OR lists <> 1;
-- a participant with lesson data has a row of attendance
SELECT count(*) FROM participants AS p ANTI JOIN lesson_attendance AS a USING (external_meeting_id, external_user_id)
WHERE p.external_meeting_id IS NOT NULL AND p.external_user_id IS NOT NULL;
-- the path of a level ends with its key, has as many keys as it is deep, and begins with that of its parent
SELECT count(*) FROM hierarchy WHERE NOT ends_with(path, level) OR (depth > 1 AND NOT contains(path, parent_level || '.'))
    OR (depth = 1) <> (parent_level IS NULL) OR (depth = 1 AND (path <> level OR parent_entity_id IS NOT NULL));
-- the parent's entity is an entity of the level above
SELECT count(*) FROM hierarchy AS h WHERE parent_entity_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM hierarchy AS p WHERE p.external_meeting_id = h.external_meeting_id AND p.external_user_id = h.external_user_id
        AND p.level = h.parent_level AND p.entity_id = h.parent_entity_id AND p.depth = h.depth - 1);
-- a day is complete exactly if each of its rooms is, and says why it is not
SELECT count(*) FROM days LEFT JOIN (SELECT space_id, date, bool_and(complete) AS whole FROM coverage GROUP BY ALL) USING (space_id, date)
WHERE (complete AND NOT coalesce(whole, true)) OR complete IS DISTINCT FROM (reason IS NULL);
-- the counts of a day are the sums over its rooms
SELECT count(*) FROM days AS d LEFT JOIN (
    SELECT space_id, date, sum(calls) AS calls, sum(reports_done) AS reports, sum(records_done) AS records, sum(records_lost) AS lost,
        sum(recorded_bytes) AS bytes, any_value(listed_at) AS listed_at, any_value(built_at) AS built_at
    FROM coverage GROUP BY ALL
) AS c USING (space_id, date)
WHERE (d.calls, d.reports_done, d.records_done, d.records_lost, d.recorded_bytes) IS DISTINCT FROM
        (coalesce(c.calls, 0), coalesce(reports, 0), coalesce(records, 0), coalesce(lost, 0), coalesce(bytes, 0))
    OR c.listed_at <> d.listed_at OR c.built_at <> d.built_at;
-- rows of a day are the rows of its tables
SELECT count(*) FROM days AS d LEFT JOIN (SELECT space_id, date, count(*) AS people FROM participants GROUP BY ALL) USING (space_id, date)
WHERE coalesce(d.rows['participants'], 0) <> coalesce(people, 0) OR d.participants <> coalesce(people, 0);
-- a day with rows was listed, then built
SELECT count(*) FROM days WHERE built_at < listed_at OR listed_at IS NULL OR (cardinality(rows) > 0 AND fingerprint IS NULL);
-- recorded bytes of a day are those of its recordings
SELECT count(*) FROM days AS d LEFT JOIN (SELECT space_id, date, sum(bytes) AS bytes FROM recordings GROUP BY ALL) AS r USING (space_id, date)
WHERE d.recorded_bytes <> coalesce(r.bytes, 0);
