"""The worked example: the records behind one profile known to the letter.

What belongs here: those records, whose JSON lines are known to the letter, too. What does
not: anything made up (`story.py`). The story stays away from these people, so that on 2024-02-10 the profile
of `user_001` is the expected one inside the sample too.
"""

from typing import Any

RECORDS: dict[str, list[dict[str, Any]]] = {
    "users": [
        {
            "id": "user_001",
            "email": "sarah.chen@email.com",
            "interests": ["hiking", "photography", "cooking"],
            "cuisine_preference": ["Italian", "Thai", "Japanese"],
            "dietary_restrictions": ["vegetarian"],
            "age": 32,
            "gender": "Female",
            "occupation": "Software Engineer",
            "relationship_status": "Single",
            "table_type_preference": "communal",
            "home_neighborhood": "Mission District",
            "work_neighborhood": "SOMA",
        }
    ],
    "events": [
        {
            "id": "event_001",
            "name": "Italian Wine Tasting",
            "date": "2024-01-15",
            "venue": "The Vault",
            "host": "Chef Mario",
            "participants": ["sarah.chen@email.com", "mike.jones@email.com", "jenny.kim@email.com"],
            "event_type": "wine_tasting",
        },
        {
            "id": "event_002",
            "name": "Thai Cooking Class",
            "date": "2024-01-22",
            "venue": "Culinary Studio",
            "host": "Chef Ploy",
            "participants": ["sarah.chen@email.com", "mike.jones@email.com"],
            "event_type": "cooking_class",
        },
        {
            "id": "event_003",
            "name": "Farm to Table Dinner",
            "date": "2024-02-05",
            "venue": "The Vault",
            "host": "Chef Mario",
            "participants": ["sarah.chen@email.com", "jenny.kim@email.com", "alex.wong@email.com"],
            "event_type": "dinner",
        },
    ],
    "orders": [
        {
            "id": "order_001",
            "user_id": "user_001",
            "event_id": "event_001",
            "amount": 75.0,
            "date": "2024-01-10",
        },
        {
            "id": "order_002",
            "user_id": "user_001",
            "event_id": "event_002",
            "amount": 85.0,
            "date": "2024-01-18",
        },
    ],
    "messages": [
        {
            "id": "msg_001",
            "user_id": "user_001",
            "content": "Hey Sarah! Chef Mario is hosting another Italian dinner...",
            "status": "sent",
            "sent_date": "2024-01-25",
        },
        {
            "id": "msg_002",
            "user_id": "user_001",
            "content": "New Thai cooking class with Chef Ploy...",
            "status": "queued",
            "created_date": "2024-02-10",
        },
    ],
}
"""Kind of record to the records of the example, fields in the order of its lines."""
