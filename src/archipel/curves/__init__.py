"""What a run's stored measurements say: as series, as warnings, and in the forms that other tools read.

Law: nothing here asks a lab or a clock; a history comes in, numbers, sentences or bytes go out.
"""
