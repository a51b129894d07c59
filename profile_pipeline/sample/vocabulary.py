"""The words of a supper club, shared by the small sample and the large one.

What belongs here: names, cuisines, venues, wording of messages. What does not: how often anything happens
(`story.py`, `bulk.py`).
"""

import unicodedata
from dataclasses import dataclass

from faker import Faker

GENDERS = ("Female", "Male", "Non-binary")
CUISINES = (
    "Italian", "Thai", "Japanese", "Mexican", "Indian", "French", "Korean", "Ethiopian", "Peruvian",
    "Vietnamese", "Greek", "Lebanese", "Spanish", "Moroccan", "Californian", "Georgian",
)  # fmt: skip
INTERESTS = (
    "hiking", "photography", "cooking", "wine", "live music", "cycling", "reading", "travel", "pottery",
    "yoga", "gardening", "climbing", "film", "board games", "baking", "running", "surfing", "art", "coffee",
    "volunteering", "theatre", "languages", "foraging", "sailing",
)  # fmt: skip
DIETS = ("vegetarian", "vegan", "pescatarian", "gluten-free", "dairy-free", "nut-free", "halal", "kosher")
OCCUPATIONS = (
    "Software Engineer", "Nurse", "Teacher", "Product Manager", "Architect", "Graphic Designer",
    "Data Analyst", "Lawyer", "Physician", "Journalist", "Chef", "Accountant", "Civil Engineer",
    "Physiotherapist", "Researcher",
    "Photographer", "Carpenter", "Translator", "Social Worker", "Veterinarian", "Electrician", "Librarian",
)  # fmt: skip
RELATIONSHIPS = ("Single", "Married", "In a relationship", "Engaged", "Divorced")
TABLE_TYPES = ("communal", "intimate", "chef's counter", "outdoor", "bar")
NEIGHBORHOODS = (
    "Mission District", "SOMA", "North Beach", "Noe Valley", "Hayes Valley", "Inner Sunset", "Potrero Hill",
    "Bernal Heights", "Pacific Heights", "Castro", "Dogpatch", "Richmond District", "Financial District",
    "Nob Hill", "Outer Sunset", "Glen Park",
)  # fmt: skip
TIME_ZONES = (
    "America/Los_Angeles",
    "America/Los_Angeles",
    "America/Los_Angeles",
    "America/New_York",
    "Europe/Madrid",
)
VENUES = (
    "The Vault", "Culinary Studio", "Harbor House", "The Glass Kitchen", "Mission Commons", "Fig & Thistle",
    "The Old Cannery", "Rooftop 21", "Sunset Greenhouse", "Ember Room", "The Long Table", "Pier 9 Pavilion",
)  # fmt: skip
HOSTS = (
    "Chef Mario", "Chef Ploy", "Chef Aiko", "Chef Lucía", "Chef Priya", "Chef Camille", "Chef Min-jun",
    "Chef Hanna", "Chef Mateo", "Chef Linh", "Sommelier Grace", "Baker Tomás",
)  # fmt: skip


@dataclass(frozen=True)
class EventType:
    """A kind of event: its title, how many seats it usually has, what a seat costs in whole dollars."""

    name: str
    title: str
    seats: int
    price: int


EVENT_TYPES = (
    EventType("dinner", "{cuisine} Supper", 14, 85),
    EventType("wine_tasting", "{cuisine} Wine Tasting", 16, 75),
    EventType("cooking_class", "{cuisine} Cooking Class", 10, 95),
    EventType("brunch", "{cuisine} Brunch", 12, 55),
    EventType("market_tour", "{cuisine} Market Tour", 8, 45),
    EventType("pop_up", "{cuisine} Pop-up", 20, 65),
    EventType("tea_tasting", "{cuisine} Tea Afternoon", 8, 40),
)

WELCOME = "Hi {first}, welcome to the table! Tell us what you love to eat and we will seat you accordingly."
SEASON = "{first}, the spring programme is out: {cuisine} nights with {host} and more. Shall we hold a seat?"
INVITATIONS = (
    "Hi {first}! {host} is cooking {cuisine} at {venue} soon, and three seats are left.",
    "{first}, you asked for more {cuisine}. {host} has a long table planned at {venue}; want in?",
    "Good to see you last time, {first}! The next evening at {venue} is {cuisine}, with {host}.",
    "Hey {first}, friends of yours have booked {host} at {venue}. There is room for one more.",
    "{first}, we have missed you! Come back for {cuisine} food at {venue}: the first glass is on us.",
    "A short note, {first}: {host} is trying out a new {cuisine} menu and would value your opinion.",
)
"""Bodies of personal messages; {first}, {cuisine}, {host} and {venue} are filled in."""

LOCALES = ("en_US", "en_US", "es_ES", "en_IN", "it_IT")
"""Where the names come from; English is listed twice because half of the members have English names."""


@dataclass(frozen=True)
class Names:
    """Pools of given names by gender and of surnames, each name once."""

    given: dict[str, tuple[str, ...]]
    surnames: tuple[str, ...]


def draw_names(seed: int, size: int = 60) -> Names:
    """Draw `size` names of each sort and locale; the same seed and Faker version give the same names."""
    fakers = []
    for number, locale in enumerate(LOCALES):
        fakers.append(Faker(locale))
        fakers[-1].seed_instance(seed * len(LOCALES) + number)
    female = [fake.first_name_female() for fake in fakers for _ in range(size)]
    male = [fake.first_name_male() for fake in fakers for _ in range(size)]
    return Names(
        given={
            "Female": tuple(dict.fromkeys(female)),
            "Male": tuple(dict.fromkeys(male)),
            "Non-binary": tuple(dict.fromkeys(female[::3] + male[::3])),
        },
        surnames=tuple(dict.fromkeys(fake.last_name() for fake in fakers for _ in range(size))),
    )


def mailbox(*names: str) -> str:
    """The part of an address before `@`: plain letters, joined by dots (`José O'Hara`: `jose.ohara`)."""
    folded = (unicodedata.normalize("NFKD", name).casefold() for name in names)
    return ".".join("".join(letter for letter in name if "a" <= letter <= "z") for name in folded)
