-- A device that is in no product is forgotten with its claim: its claimer's streams of it end then, too.
CREATE TRIGGER changes_claim_removed AFTER DELETE ON devices WHEN OLD.user_id IS NOT NULL BEGIN
    INSERT INTO changes (what) VALUES ('claims ' || OLD.user_id);
END;
