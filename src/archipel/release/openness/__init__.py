"""How open a model is, computed from the bytes of its folder: by the Model Openness Framework, and by the Open Source
AI Definition's checklist.

Parts: `licences` with `licence_facts` and `licence_words` (is it open, does its text say so), `mof` (components and
classes), `osaid` (the checklist), `plain_yaml` and `mot_file` (what the public tool reads), `contents` (what a file
really holds), `named` (a stranger's folder) and `indexed` (a bundle) find components, `card` is the document and
`grade` makes it. Laws: nothing that a folder says of itself counts before bytes show it; nothing is run, unpickled
or fetched; every reading is bounded.
"""
