"""Between bytes and questions: Tinker's protocol as its public clients speak it, in every version that is served.

Parts: `bounds`; `errors` (what is told to whoever asked wrongly); `bodies` and `reading` (questions in JSON), `unpacking`,
`messages` and `tensors` (protobuf), `training` and `sampling` (questions that hold numbers), `answers`, `paths`
(`tinker://` names), `calls` (the table of everything a client may call).
Law: pure; no clock, disk, network or chance. Every byte of a stranger's is bounded before it is believed.
"""
