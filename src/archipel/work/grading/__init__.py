"""The grading process, in which a stranger's text meets a grader: started by `training.grading`, one per
run. `process` talks and keeps time, `rounds` shares the time out, `cell` is where text is graded.
"""
