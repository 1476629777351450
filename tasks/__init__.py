"""What is asked, and what is a right answer: five categories of long-context tasks, with no dependency on torch."""
