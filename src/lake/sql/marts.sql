-- ---------------------------------------------------------------------------------------------------------------------
-- The marts. A student counts as expected if lesson data names the user for the meeting with the role `student`, or with
-- no role if the user is no teacher. `unknown` counts expected students of whom nobody knows whether they came, because a report is missing; they
-- are left out of `share`. Late means more than five minutes after the scheduled start. Weeks begin on Monday.
-- ---------------------------------------------------------------------------------------------------------------------

-- lessons: a row for a meeting that had a call.
{view lessons}
WITH people AS (
  SELECT
    a.external_meeting_id AS external_meeting_id,
    a.space_id AS space_id,
    a.date AS date,
    max(a.lesson_name) AS lesson_name,
    max(a.lesson_course_id) AS lesson_course_id,
    max(a.lesson_course_name) AS lesson_course_name,
    {names a.student_group_name} AS student_groups,
    max(a.teacher_names) AS teachers,
    min(a.lesson_scheduled_start_at) AS lesson_scheduled_start_at,
    max(a.lesson_scheduled_end_at) AS lesson_scheduled_end_at,
    count(CASE WHEN {student a} THEN 1 END) AS expected,
    count(CASE WHEN {student a} AND a.attended THEN 1 END) AS attended,
    count(CASE WHEN {student a} AND a.attended IS NULL THEN 1 END) AS unknown,
    count(CASE WHEN {student a} AND a.attended AND a.late_s > 300 THEN 1 END) AS late,
    count(CASE WHEN NOT a.meta_matched AND a.attended AND NOT {teacher a} THEN 1 END) AS guests,
    count(CASE WHEN a.attended IS NULL OR a.calls_without_report > 0 THEN 1 END) AS unsure
  FROM lesson_attendance AS a
  GROUP BY a.external_meeting_id, a.space_id, a.date
),
meeting_calls AS (
  SELECT
    space_id, room_id, call_id, date, started_at, finished_at,
    {each external_meeting_ids} AS external_meeting_id
  FROM calls
),
call_recordings AS (
  SELECT space_id, call_id, count(CASE WHEN status = 'done' THEN 1 END) AS recordings
  FROM recordings
  GROUP BY space_id, call_id
),
held AS (
  SELECT
    c.external_meeting_id,
    min(c.started_at) AS held_from,
    max(c.finished_at) AS held_to,
    count(*) AS calls,
    max(coalesce(r.recordings, 0)) AS recordings,
    min(CASE WHEN v.complete THEN 1 ELSE 0 END) AS complete
  FROM meeting_calls AS c
  LEFT JOIN call_recordings AS r ON r.space_id = c.space_id AND r.call_id = c.call_id
  LEFT JOIN coverage AS v ON v.date = c.date AND v.space_id = c.space_id AND v.room_id = c.room_id
  GROUP BY c.external_meeting_id
)
SELECT
  p.date AS date,  -- date of the meeting's first call
  p.space_id AS space_id,  -- space of the first call
  p.external_meeting_id AS external_meeting_id,  -- id of the meeting in the LMS; the key
  p.lesson_name AS lesson_name,
  p.lesson_course_id AS lesson_course_id,
  p.lesson_course_name AS lesson_course_name,
  p.student_groups AS student_groups,  -- names of the groups of its users, sorted (list)
  p.teachers AS teachers,  -- names of its teachers (list)
  p.lesson_scheduled_start_at AS lesson_scheduled_start_at,
  p.lesson_scheduled_end_at AS lesson_scheduled_end_at,
  h.held_from AS held_from,  -- start of the first call
  h.held_to AS held_to,  -- end of the last call; null while none has ended
  coalesce(h.calls, 0) AS calls,  -- number of calls that the meeting ran over
  p.expected AS expected,  -- students who should have come
  p.attended AS attended,  -- expected students who came
  p.unknown AS unknown,  -- expected students of whom it is not known
  p.attended / nullif(p.expected - p.unknown, 0) AS share,  -- attended / (expected - unknown), 0 to 1
  p.late AS late,  -- expected students who came late
  p.guests AS guests,  -- users who came without lesson data for the meeting, but for teachers
  {bool coalesce(h.recordings, 0) > 0} AS recorded,  -- true if the lake has a recording of one of its calls
  {bool coalesce(h.complete, 0) = 1 AND p.unsure = 0} AS complete  -- true if everything of its rooms on its days has come
FROM people AS p
LEFT JOIN held AS h ON h.external_meeting_id = p.external_meeting_id
{end}

-- attendance: a row for a user of a meeting: the columns of lesson_attendance, with the meeting's lesson if the user has
-- no lesson data of their own.
{view attendance}
SELECT
{attendance}
  CAST(date_trunc('week', a.date) AS DATE) AS week,  -- Monday of the week
  {bool {student a}} AS is_student,  -- true if the user counts as expected
  l.held_from AS held_from,  -- start of the meeting's first call
  l.held_to AS held_to,  -- end of its last call
  l.calls AS calls,  -- number of its calls
  l.recorded AS recorded,  -- true if the lake has a recording of one of its calls
  l.complete AS complete  -- true if everything of its rooms on its days has come
FROM lesson_attendance AS a
LEFT JOIN lessons AS l ON l.external_meeting_id = a.external_meeting_id AND l.date = a.date AND l.space_id = a.space_id
{end}

-- attendance_by_level: a row for an entity of a level (group, course, or a level of the school's own) and a week.
{view attendance_by_level}
WITH entities AS (
  SELECT
    e.external_user_id AS external_user_id,
    e.external_meeting_id AS external_meeting_id,
    e.level AS level,
    coalesce(e.entity_id, e.entity_name) AS entity_id,
    max(e.entity_name) AS entity_name,
    max(e.parent_level) AS parent_level,
    max(e.parent_entity_id) AS parent_entity_id
  FROM hierarchy AS e
  WHERE e.entity_id IS NOT NULL OR e.entity_name IS NOT NULL
  GROUP BY e.external_user_id, e.external_meeting_id, e.level, coalesce(e.entity_id, e.entity_name)
)
SELECT
  h.level AS level,  -- key of the level in the lesson data
  max(h.parent_level) AS parent_level,  -- level that encloses it; null for the outermost
  max(h.parent_entity_id) AS parent_entity_id,  -- entity that encloses it; null for the outermost
  h.entity_id AS entity_id,  -- id of the entity, else its name
  max(h.entity_name) AS entity_name,
  CAST(date_trunc('week', a.date) AS DATE) AS week,  -- Monday of the week
  count(DISTINCT a.external_meeting_id) AS lessons,  -- meetings in which the entity had students
  count(DISTINCT a.external_user_id) AS students,  -- different students
  count(*) AS expected,  -- visits that should have been: a student in a meeting is one visit
  count(CASE WHEN a.attended THEN 1 END) AS attended,  -- visits that were
  count(CASE WHEN a.attended IS NULL THEN 1 END) AS unknown,  -- visits of which it is not known
  count(CASE WHEN a.attended THEN 1 END) / nullif(count(a.attended), 0) AS share,  -- attended / (expected - unknown), 0 to 1
  count(CASE WHEN a.attended AND a.late_s > 300 THEN 1 END) AS late  -- visits that began late
FROM entities AS h
JOIN lesson_attendance AS a
  ON a.external_user_id = h.external_user_id AND a.external_meeting_id = h.external_meeting_id
WHERE {student a}
GROUP BY h.level, h.entity_id, CAST(date_trunc('week', a.date) AS DATE)
{end}

-- student_course: a row for a student and a course.
{view student_course}
SELECT
  a.external_user_id AS external_user_id,  -- id of the student in the LMS
  max(a.user_fullname) AS user_fullname,
  coalesce(a.lesson_course_id, a.lesson_course_name) AS lesson_course_id,  -- id of the course, else its name
  max(a.lesson_course_name) AS lesson_course_name,
  count(*) AS expected,  -- meetings that the student should have come to
  count(CASE WHEN a.attended THEN 1 END) AS attended,  -- meetings that the student came to
  count(CASE WHEN NOT a.attended THEN 1 END) AS absent,  -- meetings that the student missed
  count(CASE WHEN a.attended IS NULL THEN 1 END) AS unknown,  -- meetings of which it is not known
  count(CASE WHEN a.attended THEN 1 END) / nullif(count(a.attended), 0) AS share,  -- attended / (attended + absent), 0 to 1
  count(CASE WHEN a.attended AND a.late_s > 300 THEN 1 END) AS late,  -- meetings that the student came late to
  avg(a.late_s) AS late_s,  -- mean seconds from the scheduled start to the first join
  sum(a.duration_s) AS duration_s,  -- seconds in the calls
  avg(a.attended_share) AS attended_share,  -- mean of attended_share; 0 for a missed meeting
  avg(a.in_lesson_share) AS in_lesson_share,  -- mean share of the scheduled time that the student was there; 0 for a missed meeting
  min(a.date) AS first_date,  -- date of the first of these meetings
  max(a.date) AS last_date  -- date of the last one
FROM lesson_attendance AS a
WHERE {student a}
GROUP BY a.external_user_id, coalesce(a.lesson_course_id, a.lesson_course_name)
{end}

-- teachers: a row for a teacher, which is a user that teacher_ids of a meeting names.
{view teachers}
WITH meetings AS (
  SELECT
    a.external_meeting_id AS external_meeting_id,
    count(CASE WHEN {student a} THEN 1 END) AS expected,
    count(CASE WHEN {student a} AND a.attended THEN 1 END) AS attended,
    count(CASE WHEN {student a} AND a.attended IS NULL THEN 1 END) AS unknown
  FROM lesson_attendance AS a
  GROUP BY a.external_meeting_id
)
SELECT
  a.external_user_id AS external_user_id,  -- id of the teacher in the LMS
  max({teacher_name}) AS user_fullname,  -- the name in teacher_names
  count(*) AS lessons,  -- meetings that the teacher should have come to
  count(CASE WHEN a.attended THEN 1 END) AS held,  -- meetings that the teacher came to
  count(CASE WHEN NOT a.attended THEN 1 END) AS absent,  -- meetings without the teacher
  count(CASE WHEN a.attended IS NULL THEN 1 END) AS unknown,  -- meetings of which it is not known
  count(CASE WHEN a.attended AND a.late_s > 300 THEN 1 END) AS late,  -- meetings that the teacher came late to
  avg(a.late_s) AS late_s,  -- mean seconds from the scheduled start to the teacher's first join
  avg(a.left_early_s) AS left_early_s,  -- mean seconds from the teacher's last leave to the scheduled end
  sum(a.duration_s) AS duration_s,  -- seconds in the calls
  CAST(sum(m.expected) AS BIGINT) AS students_expected,  -- visits of students that should have been in these meetings
  CAST(sum(m.attended) AS BIGINT) AS students_attended,  -- visits of students that were
  CAST(sum(m.unknown) AS BIGINT) AS students_unknown,  -- visits of students of which it is not known
  sum(m.attended) / nullif(sum(m.expected - m.unknown), 0) AS students_share  -- share of these visits, 0 to 1
FROM lesson_attendance AS a
JOIN meetings AS m ON m.external_meeting_id = a.external_meeting_id
WHERE {teacher a}
GROUP BY a.external_user_id
{end}
