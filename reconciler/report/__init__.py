"""Reports: functions of a plan or a state, for readers (text) and for programs (JSON). They act on nothing."""
