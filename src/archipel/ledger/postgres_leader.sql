-- Who may append: one row, raised by every lab that becomes the leader. It is beside the log, not a part of it.
CREATE TABLE archipel_leader (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    term    bigint  NOT NULL CHECK (term >= 0),
    place   text    NOT NULL CHECK (length(place) <= 2000)
);
INSERT INTO archipel_leader (term, place) VALUES (0, '');
