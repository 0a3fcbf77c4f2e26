// Package oracle is for tests: it judges a farm from outside. A campaign tells an
// [Oracle] what was acknowledged, what must become of it, and what was done to whom;
// when all is quiet, [Oracle.Audit] compares that with the records. The oracle believes
// nothing that the farm says about faults. Packages simulation and chaos are its
// campaigns; what only one of them can see, the other leaves out.
//
//	I1   an acknowledged job is one job, it is there, and it ends
//	I2   it ends once, with the result of the attempt that owned it
//	I3   it never has two containers at once
//	I4   nothing is left: containers, images, files of workers, keys
//	I6   an attempt is lost only to a fault, and a job spends its own retries only on its
//	     own failures
//	I7   the outcome is what the job does; a failure of the farm names one that was there
//	I8   its log is what its container printed
//	I9   the end of a kept service is recorded once, and truly
//	I10  the end of a job is counted once
//	I11  each name has the recipe of the newest job that built it
//	I12  a rebuild ends, and builds each image once, after those that it stands on
//	I13  a registry has each image of a recipe under its tags, also after a rollback
//	I14  a host takes no job that an operator has taken out of the farm
//	I15  of a concurrency group no more jobs run at once than its limit
//	I16  a job runs only on a host that has what it needs
package oracle
