"""Between bytes and questions: Tinker's protocol as its public clients speak it, in every version that is served.

Parts: `bounds`; `errors` (what is told to whoever asked wrongly); `bodies` and `reading` (questions in JSON), `unpacking`,
`messages`, `counting` and `tensors` (protobuf), `training` with `provenance` and `sampling` with `chunks` (questions that hold
numbers), `answers` (futures and their results), `replies`, `listings`, `paths` (`tinker://` names), `calls` (the table of
everything a client may call).
Law: pure; no clock, disk, network or chance. Every byte of a stranger's is bounded before it is believed.
"""
