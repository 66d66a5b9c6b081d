-- A member's log is read whatever integration it belonged to at the time.
CREATE INDEX logs_by_one_member ON logs (member_id, success, id);
